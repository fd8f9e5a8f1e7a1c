// What precedes the value of a map entry that holds one feature of one value, when every length on the way fits one byte:
//   0a ENTRY 0a KEYLEN key 12 FEATURE KIND LIST 0a VALUE
// The four lengths are those of the value plus constants, so that the prefix for a value of `n` bytes is base + n * scale, a few
// words at a time: it is written so, and compared so.
#pragma once
#include <cstdint>
#include <string_view>

#include "decoder/columns.h"
#include "decoder/wire.h"

namespace fullpass {

struct Prefix {
  static constexpr uint32_t kWords = 6;
  uint64_t base[kWords] = {};   // for an empty value
  uint64_t scale[kWords] = {};  // 1 in each byte that holds a length
  uint64_t last_mask = 0;       // of the last word used
  uint32_t words = 0;           // used; 0: the key is too long for this
  uint32_t size = 0;            // bytes of the prefix; the value follows
  uint32_t most = 0;            // bytes of value that one-byte lengths allow

  Prefix() = default;
  Prefix(std::string_view key, Kind kind);

  // Writes the prefix and up to 7 bytes beyond it; returns where the value goes.
  uint8_t* write(uint8_t* out, uint64_t value_bytes) const {
    for (uint32_t i = 0; i < words; ++i) {
      const uint64_t word = base[i] + value_bytes * scale[i];
      std::memcpy(out + i * 8, &word, 8);
    }
    return out + size;
  }
  // Whether the prefix for a value of so many bytes (at most `most`) is at p. Reads up to 7 bytes beyond it.
  bool stands_at(const uint8_t* p, uint64_t value_bytes) const {
    const uint32_t last = words - 1;
    uint64_t wrong = (load_u64(p + last * 8) ^ (base[last] + value_bytes * scale[last])) & last_mask;
    for (uint32_t i = 0; i < last; ++i) wrong |= load_u64(p + i * 8) ^ (base[i] + value_bytes * scale[i]);
    return wrong == 0;
  }
};

}  // namespace fullpass
