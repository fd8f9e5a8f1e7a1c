#include "feed/feed_pack.h"

#include <algorithm>
#include <cstring>

namespace fullpass {
namespace {

// Rows written at a time over all columns: few enough to stay in the first-level cache.
constexpr size_t kTileBytes = 24 << 10;

template <typename Item>
void pack(const std::vector<PackColumn>& columns, size_t rows, size_t slots, Item* out) {
  const size_t tile = std::max<size_t>(8, kTileBytes / std::max<size_t>(1, slots * sizeof(Item)));
  for (size_t first = 0; first < rows; first += tile) {
    const size_t last = std::min(rows, first + tile);
    for (const PackColumn& column : columns) {
      const Item* from = reinterpret_cast<const Item*>(column.values) + first * column.width;
      Item* to = out + first * slots + column.start;
      if (column.width == 1) {
        for (size_t row = first; row < last; ++row, to += slots) *to = *from++;
      } else {
        for (size_t row = first; row < last; ++row, to += slots, from += column.width)
          std::memcpy(to, from, column.width * sizeof(Item));
      }
    }
  }
}

}  // namespace

void pack_rows(const std::vector<PackColumn>& columns, size_t rows, size_t slots, size_t item_size, uint8_t* out) {
  if (item_size == 4) {
    pack(columns, rows, slots, reinterpret_cast<uint32_t*>(out));
  } else {
    pack(columns, rows, slots, reinterpret_cast<uint64_t*>(out));
  }
}

}  // namespace fullpass
