#include "feed/feistel.h"

namespace fullpass {
namespace {

// Adds to `half` a 32-bit hash of the other half, scaled to 0..modulus-1 without a division.
inline uint64_t add_hash(uint64_t half, uint64_t other, uint64_t key, uint64_t modulus) {
  uint64_t mixed = (other ^ key) * 0x9E3779B97F4A7C15ull;
  mixed ^= mixed >> 29;
  mixed = (mixed * 0xD6E8FEB86659FD93ull) >> 32;
  half += (mixed * modulus) >> 32;
  return half >= modulus ? half - modulus : half;
}

}  // namespace

inline uint64_t Feistel::image(uint64_t value) const {
  do {
    uint64_t left = value / b, right = value - left * b;
    for (int i = 0; i < kRounds; i += 2) {
      left = add_hash(left, right, keys[i], a);
      right = add_hash(right, left, keys[i + 1], b);
    }
    value = left * b + right;
  } while (value >= size);  // the few that fall outside go through again until they fall inside
  return value;
}

void Feistel::images(const uint64_t* in, size_t count, uint64_t* out) const {
  for (size_t at = 0; at < count; ++at) out[at] = image(in[at]);
}

void Feistel::range(uint64_t first, size_t count, uint64_t* out) const {
  for (size_t at = 0; at < count; ++at) out[at] = image(first + at);
}

}  // namespace fullpass
