// How JSON is built, as far as it decides whether a reader has room for it.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fullpass {

struct JsonShape {
  int64_t depth = 0;    // objects and lists that are open at once, at most
  int64_t stray = -1;   // offset of the first byte that lies in no object and begins none; -1 where there is none
  int64_t objects = 0;  // at any depth
  int64_t open = 0;     // objects and lists that no byte closes; less than 0 where more are closed
  int64_t keys = 0;     // different ones; of more than some ten thousand, fewer than there are
};

// Returns the shape of JSON lines; what is in texts does not count. The bytes need not be JSON: of others it says nothing.
JsonShape json_shape(const uint8_t* data, size_t size);

}  // namespace fullpass
