#include "rows/byte_rows.h"

#include <algorithm>
#include <stdexcept>

#include "decoder/wire.h"

namespace fullpass {
namespace {

constexpr size_t kShort = 16;  // strings up to here are copied as one block of this size
constexpr size_t kAhead = 8;   // rows asked for before they are needed: they lie anywhere in a window

// `room`: bytes that may be read from `from`. The destination has kShort bytes of room in any case.
inline void copy(uint8_t* to, const uint8_t* from, size_t size, size_t room) {
  if (size <= kShort && room >= kShort) {
    std::memcpy(to, from, kShort);
  } else if (size) {
    std::memcpy(to, from, size);
  }
}

inline int64_t offset_at(const BytesColumn& column, size_t i) {
  return column.wide ? static_cast<const int64_t*>(column.offsets)[i] : static_cast<const int32_t*>(column.offsets)[i];
}

}  // namespace

void ByteRows::append_columns(const std::vector<BytesColumn>& columns, size_t count) {
  size_t total = 0;
  for (const BytesColumn& column : columns) {
    const int64_t first = offset_at(column, 0), last = offset_at(column, count * column.width);
    if (first < 0 || last < first || static_cast<size_t>(last) > column.size)
      throw std::invalid_argument("offsets of strings do not lie within their data");
    total += last - first;
  }
  data.reserve(total);
  lengths.reserve(count * width + width * 10);
  length_at.reserve(length_at.size() + count);
  data_at.reserve(data_at.size() + count);
  const size_t end = data.size() + total;
  for (size_t row = 0; row < count; ++row) {
    lengths.reserve(width * 10);
    uint8_t* length = lengths.end();
    uint8_t* to = data.end();
    for (const BytesColumn& column : columns) {
      for (size_t i = row * column.width; i < (row + 1) * column.width; ++i) {
        const int64_t start = offset_at(column, i), stop = offset_at(column, i + 1);
        const size_t size = static_cast<size_t>(stop - start);
        if (start < 0 || stop < start || static_cast<size_t>(stop) > column.size ||
            size > end - static_cast<size_t>(to - data.data()))
          throw std::invalid_argument("offsets of strings do not ascend");
        length = write_varint(length, size);
        copy(to, column.data + start, size, column.size - start);
        to += size;
      }
    }
    lengths.set_size(length - lengths.data());
    data.set_size(to - data.data());
    length_at.push_back(lengths.size());
    data_at.push_back(data.size());
  }
}

void ByteRows::append_rows(const std::vector<const ByteRows*>& blocks, const std::vector<int64_t>& starts,
                           const int64_t* rows, size_t count) {
  struct Place {
    const ByteRows* block;
    size_t row;
  };
  std::vector<Place> places(count);
  size_t length_total = 0, data_total = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t which = std::upper_bound(starts.begin(), starts.end(), rows[i]) - starts.begin();
    if (which == 0 || static_cast<size_t>(rows[i] - starts[which - 1]) >= blocks[which - 1]->rows())
      throw std::out_of_range("a row is not within its blocks");
    places[i] = {blocks[which - 1], static_cast<size_t>(rows[i] - starts[which - 1])};
  }
  for (size_t i = 0; i < count; ++i) {
    if (i + kAhead < count) {
      const Place& later = places[i + kAhead];
      __builtin_prefetch(&later.block->data_at[later.row]);
      __builtin_prefetch(&later.block->length_at[later.row]);
    }
    const ByteRows& block = *places[i].block;
    const size_t row = places[i].row;
    length_total += block.length_at[row + 1] - block.length_at[row];
    data_total += block.data_at[row + 1] - block.data_at[row];
  }
  lengths.reserve(length_total);
  data.reserve(data_total);
  for (size_t i = 0; i < count; ++i) {
    if (i + kAhead < count) {
      const Place& later = places[i + kAhead];
      const uint8_t* from = later.block->data.data() + later.block->data_at[later.row];
      for (int line = 0; line < 4; ++line) __builtin_prefetch(from + 64 * line);
      __builtin_prefetch(later.block->lengths.data() + later.block->length_at[later.row]);
    }
    const ByteRows& block = *places[i].block;
    const size_t row = places[i].row;
    lengths.append(block.lengths.data() + block.length_at[row], block.length_at[row + 1] - block.length_at[row]);
    data.append(block.data.data() + block.data_at[row], block.data_at[row + 1] - block.data_at[row]);
    length_at.push_back(lengths.size());
    data_at.push_back(data.size());
  }
}

void ByteRows::append_empty(size_t count) {
  lengths.reserve(count * width);
  std::memset(lengths.end(), 0, count * width);
  for (size_t row = 0; row < count; ++row) {
    lengths.set_size(lengths.size() + width);
    length_at.push_back(lengths.size());
    data_at.push_back(data.size());
  }
}

std::string tensor_head(const std::vector<int64_t>& shape, size_t content) {
  uint8_t varint[10];
  const auto put = [&varint](std::string& out, uint64_t value) {
    out.append(reinterpret_cast<char*>(varint), write_varint(varint, value) - varint);
  };
  std::string dims;
  for (const int64_t size : shape) {
    std::string dim = "\x08";  // Dim.size
    put(dim, static_cast<uint64_t>(size));
    dims.push_back('\x12');  // TensorShapeProto.dim
    put(dims, dim.size());
    dims += dim;
  }
  std::string head = "\x08\x07\x12";  // dtype DT_STRING; tensor_shape
  put(head, dims.size());
  head += dims;
  head.push_back('\x22');  // tensor_content
  put(head, content);
  return head;
}

}  // namespace fullpass
