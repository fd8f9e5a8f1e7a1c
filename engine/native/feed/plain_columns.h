// Columns of an Arrow batch whose values lie in memory just as the rows of a packed array take them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "encoder/arrow_abi.h"

namespace fullpass {

// One column of a packed array: where it is in most batches, and under which name; the bytes of its items (4: float32, 8: int64); its
// slots.
struct WantedColumn {
  size_t place;
  std::string name;
  size_t item;
  size_t start;
  size_t width;
};

// Returns the first of the rows' values of a column, or null where they do not lie one after the other in the packed array's
// type: another name or type, missing values, lists of another size, fewer rows. `place`: of the column in this batch. Reads no
// value.
const uint8_t* plain_values(const ArrowSchema& schema, const ArrowArray& batch, const WantedColumn& wanted, size_t place);

}  // namespace fullpass
