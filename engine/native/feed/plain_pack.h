// Blocks of numbers to the rows of packed arrays, as they come from a reader: no Python between the columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "feed/plain_columns.h"

namespace fullpass {

// The array [rows, slots] of the columns whose items have `item` bytes, contiguous.
struct PackedRows {
  size_t item, slots;
  uint8_t* to;
};

// Writes the columns of a batch into rows first .. first + batch.length of `outs`, and returns the numbers of those that do not
// lie in the batch as plain numbers, whose slots are as they were. Throws std::invalid_argument where `outs` have no slots for a
// column.
std::vector<size_t> pack_plain(const std::vector<WantedColumn>& columns, const ArrowSchema& schema, const ArrowArray& batch,
                               const std::vector<PackedRows>& outs, size_t first);

// Takes all batches of a stream. Returns whether they have `rows` rows together and every column lies in all of them as plain
// numbers; else what is in `outs` may not be used. Lets go of the stream, and with it of what it alone held. Throws as above.
bool pack_stream(const std::vector<WantedColumn>& columns, ArrowArrayStream& lent, const std::vector<PackedRows>& outs,
                 size_t rows);

}  // namespace fullpass
