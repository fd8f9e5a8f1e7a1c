#include "rows/byte_rows.h"

#include <algorithm>
#include <stdexcept>

#include "decoder/wire.h"

namespace fullpass {
namespace {

constexpr size_t kShort = 16;  // strings up to here are copied as one block of this size
constexpr size_t kAhead = 8;   // rows asked for before they are needed: they lie anywhere in a window
constexpr size_t kLarge = 4096;  // bytes of a row from which on, in the mean, strings stay in place

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

// A row's strings in `data` without lengths of its own: reads the next length.
inline size_t next_length(const uint8_t** from) {
  size_t size = 0;
  for (int shift = 0;; shift += 7) {
    const uint8_t byte = *(*from)++;
    size |= static_cast<size_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return size;
  }
}

}  // namespace

void ByteRows::append_columns(const std::vector<BytesColumn>& columns, size_t count) {
  size_t total = 0, held = 0;
  for (const BytesColumn& column : columns) {
    const int64_t first = offset_at(column, 0), last = offset_at(column, count * column.width);
    if (first < 0 || last < first || static_cast<size_t>(last) > column.size)
      throw std::invalid_argument("offsets of strings do not lie within their data");
    total += last - first;
    held += column.size;
  }
  // What is cut out of something far larger is copied, so that the rest of it can go.
  if (count && !rows() && total / count >= kLarge && held / 2 <= total) {
    append_places(columns, count);
    return;
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

void ByteRows::append_places(const std::vector<BytesColumn>& columns, size_t count) {
  in_place_ = true;
  places_.reserve(count * width);
  length_at.reserve(count + 1);
  data_at.reserve(count + 1);
  for (size_t row = 0; row < count; ++row) {
    lengths.reserve(width * 10);
    uint8_t* length = lengths.end();
    size_t bytes = data_at.back();
    for (const BytesColumn& column : columns) {
      for (size_t i = row * column.width; i < (row + 1) * column.width; ++i) {
        const int64_t start = offset_at(column, i), stop = offset_at(column, i + 1);
        if (start < 0 || stop < start || static_cast<size_t>(stop) > column.size)
          throw std::invalid_argument("offsets of strings do not ascend");
        length = write_varint(length, static_cast<size_t>(stop - start));
        places_.push_back(column.data + start);
        bytes += static_cast<size_t>(stop - start);
      }
    }
    lengths.set_size(length - lengths.data());
    length_at.push_back(lengths.size());
    data_at.push_back(bytes);
  }
}

void ByteRows::copy_contents(size_t begin, size_t end, uint8_t* to) const {
  if (!in_place_) {
    if (data_at[end] > data_at[begin]) std::memcpy(to, data.data() + data_at[begin], data_at[end] - data_at[begin]);
    return;
  }
  const uint8_t* length = lengths.data() + length_at[begin];
  for (size_t i = begin * width; i < end * width; ++i) {
    const size_t size = next_length(&length);
    if (size) std::memcpy(to, places_[i], size);
    to += size;
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
  const bool large = std::any_of(blocks.begin(), blocks.end(), [](const ByteRows* block) { return block->in_place_; });
  if (in_place_ || large) {
    in_place_ = in_place_ || !this->rows();
    if (!in_place_) data.reserve(data_total);
    for (const Place& place : places) {
      const ByteRows& block = *place.block;
      const size_t size = block.data_at[place.row + 1] - block.data_at[place.row];
      const uint8_t* length = block.lengths.data() + block.length_at[place.row];
      lengths.append(length, block.length_at[place.row + 1] - block.length_at[place.row]);
      if (!in_place_) {  // rows that were copied lie here already
        block.copy_contents(place.row, place.row + 1, data.end());
        data.set_size(data.size() + size);
      } else if (block.in_place_) {
        const auto first = block.places_.begin() + static_cast<std::ptrdiff_t>(place.row * width);
        places_.insert(places_.end(), first, first + static_cast<std::ptrdiff_t>(width));
      } else {
        const uint8_t* from = block.data.data() + block.data_at[place.row];
        for (size_t column = 0; column < width; ++column) {
          places_.push_back(from);
          from += next_length(&length);
        }
      }
      length_at.push_back(lengths.size());
      data_at.push_back(data_at.back() + size);
    }
    return;
  }
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
    data_at.push_back(data_at.back());
  }
  if (in_place_) places_.resize(rows() * width, nullptr);
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
