#include "framing/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace fullpass {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78u;  // Castagnoli, bits reversed

using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (uint32_t byte = 0; byte < 256; ++byte)
    for (size_t slice = 1; slice < 8; ++slice)
      tables[slice][byte] = (tables[slice - 1][byte] >> 8) ^ tables[0][tables[slice - 1][byte] & 0xff];
  return tables;
}

constexpr Tables kTables = make_tables();

uint64_t load64(const uint8_t* p) {
  uint64_t value;
  std::memcpy(&value, p, 8);
  return value;
}

#if defined(__x86_64__) || (defined(__aarch64__) && defined(__linux__))
// The instruction has a latency of three cycles and a throughput of one: three independent lanes keep it busy. Lanes are
// joined by advancing a checksum over a lane's worth of zero bytes, which is linear and so four table look-ups.
constexpr size_t kLongLane = 2048;
constexpr size_t kShortLane = 128;

using Advance = std::array<std::array<uint32_t, 256>, 4>;

uint32_t times(const std::array<uint32_t, 32>& matrix, uint32_t vector) {
  uint32_t sum = 0;
  for (int bit = 0; vector; ++bit, vector >>= 1)
    if (vector & 1) sum ^= matrix[bit];
  return sum;
}

Advance make_advance(size_t bytes) {
  std::array<uint32_t, 32> matrix{};  // one zero bit
  matrix[0] = kPolynomial;
  for (int bit = 1; bit < 32; ++bit) matrix[bit] = 1u << (bit - 1);
  for (size_t bits = 1; bits < bytes * 8; bits *= 2) {  // bytes is a power of two
    std::array<uint32_t, 32> square{};
    for (int bit = 0; bit < 32; ++bit) square[bit] = times(matrix, matrix[bit]);
    matrix = square;
  }
  Advance advance{};
  for (uint32_t byte = 0; byte < 256; ++byte)
    for (int part = 0; part < 4; ++part) advance[part][byte] = times(matrix, byte << (8 * part));
  return advance;
}

const Advance kLong = make_advance(kLongLane);
const Advance kShort = make_advance(kShortLane);

inline uint32_t shift(const Advance& advance, uint32_t crc) {
  return advance[0][crc & 0xff] ^ advance[1][(crc >> 8) & 0xff] ^ advance[2][(crc >> 16) & 0xff] ^ advance[3][crc >> 24];
}
#endif

#if defined(__x86_64__)
#define FULLPASS_HARDWARE __attribute__((target("sse4.2")))
FULLPASS_HARDWARE inline uint64_t step64(uint64_t crc, uint64_t value) { return _mm_crc32_u64(crc, value); }
FULLPASS_HARDWARE inline uint32_t step8(uint32_t crc, uint8_t value) { return _mm_crc32_u8(crc, value); }
bool has_hardware() { return __builtin_cpu_supports("sse4.2"); }
constexpr const char* kHardware = "sse4.2";
#elif defined(__aarch64__) && defined(__linux__)
#define FULLPASS_HARDWARE __attribute__((target("+crc")))
FULLPASS_HARDWARE inline uint64_t step64(uint64_t crc, uint64_t value) { return __crc32cd(static_cast<uint32_t>(crc), value); }
FULLPASS_HARDWARE inline uint32_t step8(uint32_t crc, uint8_t value) { return __crc32cb(crc, value); }
bool has_hardware() { return getauxval(AT_HWCAP) & HWCAP_CRC32; }
constexpr const char* kHardware = "armv8-crc";
#endif

#ifdef FULLPASS_HARDWARE
template <size_t kLane>
FULLPASS_HARDWARE inline const uint8_t* three_lanes(const uint8_t* p, const uint8_t* end, const Advance& advance, uint64_t& crc) {
  while (static_cast<size_t>(end - p) >= 3 * kLane) {
    uint64_t a = crc, b = 0, c = 0;
    for (const uint8_t* stop = p + kLane; p != stop; p += 8) {
      a = step64(a, load64(p));
      b = step64(b, load64(p + kLane));
      c = step64(c, load64(p + 2 * kLane));
    }
    const uint32_t ab = shift(advance, static_cast<uint32_t>(a)) ^ static_cast<uint32_t>(b);
    crc = shift(advance, ab) ^ static_cast<uint32_t>(c);
    p += 2 * kLane;
  }
  return p;
}

FULLPASS_HARDWARE uint32_t crc32c_hardware(const uint8_t* data, size_t size) {
  uint64_t crc = 0xffffffffu;
  const uint8_t* p = data;
  const uint8_t* end = data + size;
  p = three_lanes<kLongLane>(p, end, kLong, crc);
  p = three_lanes<kShortLane>(p, end, kShort, crc);
  for (; end - p >= 8; p += 8) crc = step64(crc, load64(p));
  auto crc32 = static_cast<uint32_t>(crc);
  for (; p != end; ++p) crc32 = step8(crc32, *p);
  return ~crc32;
}
#endif

using Function = uint32_t (*)(const uint8_t*, size_t);

Function choose() {
#ifdef FULLPASS_HARDWARE
  if (has_hardware()) return crc32c_hardware;
#endif
  return crc32c_portable;
}

}  // namespace

uint32_t crc32c_portable(const uint8_t* data, size_t size) {
  uint32_t crc = 0xffffffffu;
  const uint8_t* end = data + size;
  for (; end - data >= 8; data += 8) {
    const uint64_t word = load64(data) ^ crc;
    crc = kTables[7][word & 0xff] ^ kTables[6][(word >> 8) & 0xff] ^ kTables[5][(word >> 16) & 0xff] ^
          kTables[4][(word >> 24) & 0xff] ^ kTables[3][(word >> 32) & 0xff] ^ kTables[2][(word >> 40) & 0xff] ^
          kTables[1][(word >> 48) & 0xff] ^ kTables[0][word >> 56];
  }
  for (; data != end; ++data) crc = (crc >> 8) ^ kTables[0][(crc ^ *data) & 0xff];
  return ~crc;
}

uint32_t crc32c(const uint8_t* data, size_t size) {
  static const Function function = choose();
  return function(data, size);
}

const char* crc32c_implementation() {
#ifdef FULLPASS_HARDWARE
  if (has_hardware()) return kHardware;
#endif
  return "slicing-by-8";
}

}  // namespace fullpass
