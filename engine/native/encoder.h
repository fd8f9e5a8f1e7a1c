// Arrow columns to framed tf.Example records.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "arrow_abi.h"
#include "columns.h"

namespace fullpass {

class Encoder {
 public:
  // Takes int64, float32, binary, dictionary<int32, binary>, and list, large_list or fixed_size_list of those.
  // Throws std::invalid_argument with the column's name for any other type.
  Encoder(const ArrowSchema* schema, const ArrowArray* batch);
  // Appends rows [begin, end) to out, each framed and with both checksums, keys in column order.
  void encode(int64_t begin, int64_t end, Buffer* out) const;

 private:
  enum class Layout { kScalar, kList, kLargeList, kFixedList };
  struct Source {
    Kind kind;
    Layout layout;
    std::string prefix;  // key tag, length and key, then the value's tag
    const ArrowArray* array;
    const ArrowArray* values;       // the array itself or its child
    const ArrowArray* dictionary;   // of values, or null
    int64_t list_size = 0;
  };
  static Source make_source(const ArrowSchema* schema, const ArrowArray* array);
  static size_t list_bytes(const Source& source, int64_t begin, int64_t end);
  static uint8_t* write_list(const Source& source, int64_t begin, int64_t end, size_t bytes, uint8_t* out);
  static void range(const Source& source, int64_t row, int64_t* begin, int64_t* end);
  std::vector<Source> sources_;
  int64_t offset_;
};

}  // namespace fullpass
