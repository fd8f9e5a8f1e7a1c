// A span of a plain TFRecord file to record batches in one go, without the interpreter in between.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "decoder/decoder.h"
#include "framing/framing.h"

namespace fullpass {

struct ReleaseArray {
  void operator()(ArrowArray* array) const {
    if (array->release) array->release(array);
    delete array;
  }
};
using OwnedArray = std::unique_ptr<ArrowArray, ReleaseArray>;

struct FileSpan {
  bool whole = false;              // read without damage; else nothing of it may be used
  int64_t begin = -1, end = -1;    // bytes: the first record's header, and what follows the last record; -1: no record begins here
  std::vector<OwnedArray> batches;
};

// Reads spans, one after another; its buffer and what its decoder learned are used again. One thread at a time.
class SpanReader {
 public:
  SpanReader(const std::vector<FieldSpec>& fields, bool strict) : decoder_(fields, {true, strict, false}) {}
  // Reads the records that begin in bytes [start, stop) of an open file, into batches of `batch_rows`. Unless a record is known
  // to begin at `start`, the first one is looked for. What the damage is, is for the caller to find out.
  FileSpan read(int file, uint64_t start, uint64_t stop, bool exact, int64_t batch_rows);

 private:
  size_t available() const { return end_ - begin_; }
  size_t until(uint64_t stop) const;
  void use(size_t bytes);
  void fill(size_t wanted);
  bool synchronise(uint64_t stop);
  bool read_whole(uint64_t stop, bool exact, int64_t batch_rows, FileSpan* span);
  bool decode(uint64_t stop, int64_t batch_rows, FileSpan* span);
  bool successor_holds();

  Decoder decoder_;
  std::vector<Record> records_;
  std::vector<uint8_t> buffer_;  // [begin_, end_) of it is filled and not yet used
  size_t begin_ = 0, end_ = 0;
  uint64_t offset_ = 0;  // of begin_ in the file
  bool at_end_ = false;  // of the file
  int file_ = -1;
};

}  // namespace fullpass
