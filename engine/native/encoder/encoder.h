// Arrow columns to framed tf.Example and tf.SequenceExample records.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "encoder/arrow_abi.h"
#include "decoder/columns.h"
#include "feed/prefix.h"

namespace fullpass {

class Encoder {
 public:
  // The key of its feature list for each column that is one; shorter than the columns where the rest are features.
  using ListKeys = std::vector<std::optional<std::string>>;

  // Takes int64, float32, binary, dictionary<int32, binary>, and list, large_list or fixed_size_list of those; for feature
  // lists a list of any of these. Throws std::invalid_argument with the column's name for any other type.
  Encoder(const ArrowSchema* schema, const ArrowArray* batch, const ListKeys& lists = {});
  // Appends rows [begin, end) to out, each framed and with both checksums, keys in column order.
  void encode(int64_t begin, int64_t end, Buffer* out) const;

 private:
  enum class Layout { kScalar, kList, kLargeList, kFixedList };
  struct Source {
    Prefix prefix;        // of short scalars
    Kind kind;
    Layout layout;
    const uint8_t* valid;         // bitmap, or null where nothing is
    int64_t valid_offset;
    const int64_t* ints;          // of scalars: the values themselves
    const uint32_t* floats;
    const int32_t* offsets;       // of plain bytes
    const uint8_t* bytes;
    int64_t bytes_end;            // within bytes; may be read up to here
    std::string head;  // key tag, length and key, then the value's tag
    const ArrowArray* array;
    const ArrowArray* values;       // the array itself or its child
    const ArrowArray* dictionary;   // of values, or null
    int64_t list_size = 0;
  };
  // A feature list: an entry of `frames` for each row, whose entries are rows of `values`.
  struct FrameColumn {
    Source frames;
    Source values;
  };
  static Source make_source(const ArrowSchema* schema, const ArrowArray* array, const std::string& key);
  static FrameColumn make_frames(const ArrowSchema* schema, const ArrowArray* array, const std::string& key);
  static bool is_null(const Source& source, int64_t index) {
    if (!source.valid) return false;
    const int64_t bit = source.valid_offset + index;
    return !(source.valid[bit / 8] >> (bit % 8) & 1);
  }
  static void set_scalars(Source& source, const char* key);
  static size_t list_bytes(const Source& source, int64_t begin, int64_t end);
  static uint8_t* write_list(const Source& source, int64_t begin, int64_t end, size_t bytes, uint8_t* out);
  static uint8_t* write_short(const Source& source, int64_t index, uint8_t* out);
  static uint8_t* write_entry(const Source& source, int64_t index, size_t room, Buffer* out, uint8_t* at);
  static void range(const Source& source, int64_t row, int64_t* begin, int64_t* end);
  // Bytes of the FeatureLists message of a row; `sizes` takes those of its parts, which writing needs again.
  size_t lists_bytes(int64_t index, std::vector<size_t>* sizes) const;
  uint8_t* write_lists(int64_t index, const std::vector<size_t>& sizes, uint8_t* out) const;
  std::vector<Source> sources_;
  std::vector<FrameColumn> lists_;
  int64_t offset_;
  size_t room_ = 64;  // bytes that a record takes at most whose every feature is short
};

}  // namespace fullpass
