#include "exact_sums.h"

#include <algorithm>
#include <cstring>

namespace fullpass {
namespace {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

// Adds value * 2**shift, sign and carry up to the highest word.
void add_shifted(FixedPoint& into, int128 value, int shift) {
  const uint128 bits = static_cast<uint128>(value);
  const uint64_t sign = value < 0 ? ~uint64_t{0} : 0;
  const uint64_t low = static_cast<uint64_t>(bits), high = static_cast<uint64_t>(bits >> 64);
  const int by = shift % 64;
  const uint64_t words[3] = {low << by, by ? (high << by) | (low >> (64 - by)) : high, by ? (sign << by) | (high >> (64 - by)) : sign};
  uint64_t carry = 0;
  for (size_t at = static_cast<size_t>(shift / 64), word = 0; at < into.size(); ++at, ++word) {
    const uint128 total = uint128{into[at]} + (word < 3 ? words[word] : sign) + carry;
    into[at] = static_cast<uint64_t>(total);
    carry = static_cast<uint64_t>(total >> 64);
  }
}

template <typename Float>
struct Layout;
template <>
struct Layout<float> {
  using Bits = uint32_t;
  using Sum = int64_t;
  static constexpr int kMantissa = 23, kExponents = 256, kOffset = 150;
};
template <>
struct Layout<double> {
  using Bits = uint64_t;
  using Sum = int128;
  static constexpr int kMantissa = 52, kExponents = 2048, kOffset = 1075;
};

constexpr int64_t kBlock = int64_t{1} << 20;  // squares of doubles take 106 bits: 2**20 of them fit into the 127 of a sum

template <typename Float>
void add_block(const Float* values, int64_t size, ExactSums& into) {
  using L = Layout<Float>;
  using Bits = typename L::Bits;
  typename L::Sum sums[L::kExponents] = {};
  uint128 squares[L::kExponents] = {};
  int64_t left_out = 0;
  for (int64_t at = 0; at < size; ++at) {
    Bits bits;
    std::memcpy(&bits, values + at, sizeof bits);
    const int exponent = static_cast<int>(bits >> L::kMantissa) & (L::kExponents - 1);
    if (exponent == L::kExponents - 1) {  // infinite, or no number
      ++left_out;
      continue;
    }
    const int64_t fraction = static_cast<int64_t>(bits & ((Bits{1} << L::kMantissa) - 1));
    const int64_t whole = fraction | (static_cast<int64_t>(exponent != 0) << L::kMantissa);
    const int place = std::max(exponent, 1);  // numbers below the least normal one are of its power
    sums[place] += bits >> (8 * sizeof bits - 1) ? -whole : whole;
    squares[place] += static_cast<uint128>(whole) * static_cast<uint128>(whole);
  }
  into.count += size - left_out;
  for (int place = 1; place < L::kExponents - 1; ++place) {
    if (squares[place] == 0) continue;
    add_shifted(into.sum, sums[place], place - L::kOffset + kScaleBits);
    add_shifted(into.squares, static_cast<int128>(squares[place]), 2 * (place - L::kOffset) + kScaleBits);
  }
}

template <typename Float>
void add_blocks(const Float* values, int64_t size, ExactSums& into) {
  for (int64_t first = 0; first < size; first += kBlock) add_block(values + first, std::min(kBlock, size - first), into);
}

}  // namespace

void add_exactly(const float* values, int64_t size, ExactSums& into) { add_blocks(values, size, into); }
void add_exactly(const double* values, int64_t size, ExactSums& into) { add_blocks(values, size, into); }

}  // namespace fullpass
