// Strings of many columns, row after row: what the feed shuffles and hands to TensorFlow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "decoder/columns.h"

namespace fullpass {

// One column of byte strings as Arrow has it: `width` neighbouring values a row.
struct BytesColumn {
  const void* offsets;  // rows * width + 1 offsets into data
  bool wide;            // offsets are int64, else int32
  const uint8_t* data;
  size_t size;  // of data
  size_t width;
};

// Rows of `width` strings. Lengths and contents lie apart, each row after row, so that rows move as two blocks of memory and
// that lengths followed by contents are the tensor_content of a DT_STRING TensorProto: varint lengths, then the strings
// (tensorflow/core/platform/tensor_coding.cc, EncodeStringList).
class ByteRows {
 public:
  explicit ByteRows(size_t width) : width(width), length_at(1, 0), data_at(1, 0) {}

  // Appends rows made of columns. Throws std::invalid_argument where offsets do not ascend within the data.
  void append_columns(const std::vector<BytesColumn>& columns, size_t rows);
  // Appends rows of blocks laid end to end; block i begins at row starts[i]. Throws std::out_of_range.
  void append_rows(const std::vector<const ByteRows*>& blocks, const std::vector<int64_t>& starts, const int64_t* rows,
                   size_t count);
  // Appends rows of empty strings.
  void append_empty(size_t rows);

  size_t rows() const { return data_at.size() - 1; }
  // Bytes that rows [begin, end) take in tensor_content.
  size_t content_bytes(size_t begin, size_t end) const {
    return length_at[end] - length_at[begin] + data_at[end] - data_at[begin];
  }

  const size_t width;
  Buffer lengths, data;
  std::vector<size_t> length_at, data_at;  // where each row begins in `lengths` and `data`
};

// Rows [begin, end) of `rows`.
struct ByteSlice {
  const ByteRows* rows;
  size_t begin, end;
};

// The bytes of a TensorProto (DT_STRING) before its content: `content` bytes of it follow.
std::string tensor_head(const std::vector<int64_t>& shape, size_t content);

}  // namespace fullpass
