// Exact sums of floats and of their squares: the same bits in whatever order and grouping the values come.
//
// A float is an integer times a power of two. Integers of one power are summed as integers, and these sums are put together in one
// number with a fixed point, whose words hold any sum of finite floats to the last bit.
#pragma once
#include <array>
#include <cstdint>

namespace fullpass {

constexpr int kScaleBits = 2176;  // a sum is kept times 2**kScaleBits: even the square of the smallest double is whole then
using FixedPoint = std::array<uint64_t, 72>;  // two's complement, lowest word first; 4,500 bits and room for 2**60 values

struct ExactSums {
  int64_t count = 0;  // finite values: others are left out
  FixedPoint sum{}, squares{};
};

void add_exactly(const float* values, int64_t size, ExactSums& into);
void add_exactly(const double* values, int64_t size, ExactSums& into);

}  // namespace fullpass
