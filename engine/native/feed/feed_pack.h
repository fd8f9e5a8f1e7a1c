// Columns to rows: what the feed does with every block it reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fullpass {

// One column of a packed array: `width` neighbouring slots a row, from slot `start`.
struct PackColumn {
  const uint8_t* values;
  size_t start;
  size_t width;
};

// Writes columns of items of `item_size` bytes (4 or 8) into `rows` rows of `slots` slots.
void pack_rows(const std::vector<PackColumn>& columns, size_t rows, size_t slots, size_t item_size, uint8_t* out);

}  // namespace fullpass
