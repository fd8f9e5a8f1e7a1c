// Strings of many columns, row after row: what the feed shuffles and hands to TensorFlow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
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
//
// Large strings, images for one, stay where they were read: each copy of them takes fresh pages from the system, which cost more
// than what is copied into them. Such rows know where each string lies, and are copied once, to where they are wanted.
class ByteRows {
 public:
  explicit ByteRows(size_t width) : width(width), length_at(1, 0), data_at(1, 0) {}

  // Appends rows made of columns. Throws std::invalid_argument where offsets do not ascend within the data. Where the rows stay in
  // place then, the caller keeps the columns' memory as long as them: see `keep`.
  void append_columns(const std::vector<BytesColumn>& columns, size_t rows);
  // Appends rows of blocks laid end to end; block i begins at row starts[i]. Throws std::out_of_range. Where the rows stay in place
  // then, the caller keeps the blocks as long as them.
  void append_rows(const std::vector<const ByteRows*>& blocks, const std::vector<int64_t>& starts, const int64_t* rows,
                   size_t count);
  // Appends rows of empty strings.
  void append_empty(size_t rows);

  size_t rows() const { return data_at.size() - 1; }
  // Bytes that rows [begin, end) take in tensor_content.
  size_t content_bytes(size_t begin, size_t end) const {
    return length_at[end] - length_at[begin] + data_at[end] - data_at[begin];
  }

  // Whether the strings lie elsewhere; `data` is empty then.
  bool in_place() const { return in_place_; }
  // Where string `column` of a row of `in_place` rows lies.
  const uint8_t* place(size_t row, size_t column) const { return places_[row * width + column]; }
  // Copies the contents of rows [begin, end), one after the other.
  void copy_contents(size_t begin, size_t end, uint8_t* to) const;
  // Holds what the strings of `in_place` rows lie in.
  void keep(std::shared_ptr<void> memory) { kept_.push_back(std::move(memory)); }

  const size_t width;
  Buffer lengths, data;
  // Where each row begins in `lengths` and `data`, or would begin if its strings were there.
  std::vector<size_t> length_at, data_at;

 private:
  void append_places(const std::vector<BytesColumn>& columns, size_t rows);
  bool in_place_ = false;
  std::vector<const uint8_t*> places_;  // of each string of `in_place` rows
  std::vector<std::shared_ptr<void>> kept_;
};

// Rows [begin, end) of `rows`.
struct ByteSlice {
  const ByteRows* rows;
  size_t begin, end;
};

// The bytes of a TensorProto (DT_STRING) before its content: `content` bytes of it follow.
std::string tensor_head(const std::vector<int64_t>& shape, size_t content);

}  // namespace fullpass
