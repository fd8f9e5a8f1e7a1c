// Protobuf's wire format (https://protobuf.dev/programming-guides/encoding/): bounded readers that never pass `end`, and writers of varints.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fullpass {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kDelimited = 2, kStartGroup = 3, kEndGroup = 4, kFixed32 = 5 };

inline uint32_t load_u32(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return value;
}

inline uint64_t load_u64(const uint8_t* p) {
  uint64_t value;
  std::memcpy(&value, p, 8);
  return value;
}

inline size_t varint_size(uint64_t value) { return value < 0x80 ? 1 : (64 - __builtin_clzll(value) + 6) / 7; }

// Writes at most ten bytes and returns what follows them.
inline uint8_t* write_varint(uint8_t* out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) *out++ = static_cast<uint8_t>(value | 0x80);
  *out++ = static_cast<uint8_t>(value);
  return out;
}

// Each reader moves *p past what it read, or returns false and leaves *p anywhere up to end.
inline bool read_varint(const uint8_t** p, const uint8_t* end, uint64_t* value) {
  if (*p < end && **p < 0x80) {
    *value = *(*p)++;
    return true;
  }
  uint64_t result = 0;
  for (uint32_t shift = 0; shift < 70 && *p < end; shift += 7) {
    const uint8_t byte = *(*p)++;
    if (shift < 64) result |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = result;
      return true;
    }
  }
  return false;
}

inline bool read_length(const uint8_t** p, const uint8_t* end, size_t* length) {
  uint64_t value;
  if (!read_varint(p, end, &value) || value > static_cast<uint64_t>(end - *p)) return false;
  *length = static_cast<size_t>(value);
  return true;
}

// A tag has at most five bytes, a field number of at least 1, and a wire type that exists.
inline bool read_tag(const uint8_t** p, const uint8_t* end, uint32_t* field, uint32_t* type) {
  const uint8_t* start = *p;
  uint64_t value;
  if (!read_varint(p, end, &value) || value > 0xffffffffu || *p - start > 5) return false;
  *field = static_cast<uint32_t>(value >> 3);
  *type = static_cast<uint32_t>(value & 7);
  return *field != 0 && *type <= kFixed32;
}

// Skips one field's value; groups nest to `depth` at most.
inline bool skip_value(const uint8_t** p, const uint8_t* end, uint32_t field, uint32_t type, int depth = 100) {
  uint64_t ignored;
  size_t length;
  switch (type) {
    case kVarint:
      return read_varint(p, end, &ignored);
    case kFixed64:
      if (end - *p < 8) return false;
      *p += 8;
      return true;
    case kFixed32:
      if (end - *p < 4) return false;
      *p += 4;
      return true;
    case kDelimited:
      if (!read_length(p, end, &length)) return false;
      *p += length;
      return true;
    case kStartGroup:
      if (depth == 0) return false;
      while (*p < end) {
        uint32_t inner_field, inner_type;
        if (!read_tag(p, end, &inner_field, &inner_type)) return false;
        if (inner_type == kEndGroup) return inner_field == field;
        if (!skip_value(p, end, inner_field, inner_type, depth - 1)) return false;
      }
      return false;
    default:
      return false;  // an end without its start
  }
}

// Reads a delimited field's bytes.
inline bool read_span(const uint8_t** p, const uint8_t* end, const uint8_t** data, size_t* size) {
  if (!read_length(p, end, size)) return false;
  *data = *p;
  *p += *size;
  return true;
}

// Where [p, p + size) is one delimited field that fills it whole, narrows the span to its content.
inline bool unwrap(const uint8_t** p, size_t* size, uint8_t tag) {
  const uint8_t* at = *p;
  if (*size < 2 || at[0] != tag) return false;
  if (at[1] < 0x80) {
    if (at[1] != *size - 2) return false;
    *p = at + 2;
    *size -= 2;
    return true;
  }
  const uint8_t* end = at + *size;
  size_t length;
  ++at;
  if (!read_length(&at, end, &length) || at + length != end) return false;
  *p = at;
  *size = length;
  return true;
}

}  // namespace fullpass
