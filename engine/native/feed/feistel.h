// The rounds of the keyed permutation of engine/plan/feistel.py, which says what it is and where it comes from.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace fullpass {

struct Feistel {
  static constexpr int kRounds = 6;
  uint64_t size;  // values 0..size-1 are permuted
  uint64_t a, b;  // sides: a * b >= size
  std::array<uint64_t, kRounds> keys;

  // The image of a value below size.
  uint64_t image(uint64_t value) const;
  // The images of `count` values. in and out may be the same.
  void images(const uint64_t* in, size_t count, uint64_t* out) const;
  // The images of first, first + 1, ...
  void range(uint64_t first, size_t count, uint64_t* out) const;
};

}  // namespace fullpass
