#include "serving/plain_example.h"

#include <algorithm>

#include "decoder/wire.h"

namespace fullpass {
namespace {

constexpr uint8_t kFirst = 1 << 3 | kDelimited, kSecond = 2 << 3 | kDelimited, kThird = 3 << 3 | kDelimited;
constexpr uint8_t kFirstVarint = 1 << 3 | kVarint, kFirstFixed32 = 1 << 3 | kFixed32;

// Calls visit(tag, data, size) for each delimited field of [p, end); false where one is cut or visit refuses.
template <typename Visit>
bool each_field(const uint8_t* p, const uint8_t* end, Visit visit) {
  while (p < end) {
    const uint8_t tag = *p++;
    const uint8_t* data;
    size_t size;
    if (!read_span(&p, end, &data, &size) || !visit(tag, data, size)) return false;
  }
  return true;
}

bool plain_bytes(const uint8_t* p, const uint8_t* end) {
  return each_field(p, end, [](uint8_t tag, const uint8_t*, size_t) { return tag == kFirst; });
}

bool plain_floats(const uint8_t* p, const uint8_t* end) {
  while (p < end) {
    const uint8_t tag = *p++;
    if (tag == kFirst) {
      const uint8_t* data;
      size_t size;
      if (!read_span(&p, end, &data, &size) || size % 4 != 0) return false;
    } else if (tag == kFirstFixed32 && end - p >= 4) {
      p += 4;
    } else {
      return false;
    }
  }
  return true;
}

bool varints(const uint8_t* p, const uint8_t* end) {
  uint64_t ignored;
  while (p < end) {
    if (!read_varint(&p, end, &ignored)) return false;
  }
  return true;
}

bool plain_ints(const uint8_t* p, const uint8_t* end) {
  while (p < end) {
    const uint8_t tag = *p++;
    uint64_t ignored;
    const uint8_t* data;
    size_t size;
    const bool good = tag == kFirst ? read_span(&p, end, &data, &size) && varints(data, data + size)
                                    : tag == kFirstVarint && read_varint(&p, end, &ignored);
    if (!good) return false;
  }
  return true;
}

bool plain_feature(uint8_t tag, const uint8_t* data, size_t size) {
  switch (tag) {
    case kFirst: return plain_bytes(data, data + size);
    case kSecond: return plain_floats(data, data + size);
    case kThird: return plain_ints(data, data + size);
    default: return false;
  }
}

bool ascii(const uint8_t* p, const uint8_t* end) {
  return std::all_of(p, end, [](uint8_t byte) { return byte < 0x80; });
}

}  // namespace

bool is_plain_example(const uint8_t* data, size_t size, Names names) {
  const auto entry = [names](uint8_t tag, const uint8_t* p, size_t n) {
    return tag == kFirst ? names == Names::kAny || ascii(p, p + n) : tag == kSecond && each_field(p, p + n, plain_feature);
  };
  const auto features = [&entry](uint8_t tag, const uint8_t* p, size_t n) { return tag == kFirst && each_field(p, p + n, entry); };
  return each_field(data, data + size, [&features](uint8_t tag, const uint8_t* p, size_t n) {
    return tag == kFirst && each_field(p, p + n, features);
  });
}

}  // namespace fullpass
