// Thrift's compact protocol, read forwards from bytes that may be anything.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "parquet/footer.h"

namespace fullpass {

enum ThriftType : int { kStop = 0, kTrue = 1, kFalse = 2, kByte = 3, kI16 = 4, kI32 = 5, kI64 = 6, kDouble = 7, kBinary = 8,
                        kList = 9, kSet = 10, kMap = 11, kStruct = 12, kUuid = 13 };

class ThriftReader {
 public:
  ThriftReader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  size_t at() const { return at_; }
  void seek(size_t at) { at_ = at; }

  uint8_t byte() {
    if (at_ >= size_) fail("the footer ends within a value");
    return data_[at_++];
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t next = byte();
      value |= static_cast<uint64_t>(next & 0x7f) << shift;
      if (next < 0x80) return value;
    }
    fail("a number has more than 64 bits");
  }

  int64_t integer() {
    const uint64_t value = varint();
    return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1));
  }

  std::string_view binary() {
    const size_t length = count(1);
    const std::string_view out(reinterpret_cast<const char*>(data_) + at_, length);
    at_ += length;
    return out;
  }

  // A list's number of elements and their type. Each takes a byte at least, so that no list is longer than what is left.
  size_t list(int* type) {
    const uint8_t head = byte();
    *type = head & 0x0f;
    const size_t length = head >> 4 == 15 ? count(1) : head >> 4;
    if (length > size_ - at_) fail("a list is longer than the footer");
    return length;
  }

  // Calls visit(number, type) for each field of a struct; it returns whether it has read the field, which is skipped if not.
  template <typename Visit>
  void fields(Visit&& visit) {
    int16_t number = 0;
    for (;;) {
      const uint8_t head = byte();
      const int type = head & 0x0f;
      if (type == kStop) return;
      number = static_cast<int16_t>(head >> 4 ? number + (head >> 4) : integer());
      if (!visit(number, type)) skip(type, false, 0);
    }
  }

  [[noreturn]] void fail(const char* what) const { throw FooterFault(what, at_); }

 private:
  static constexpr int kDeepest = 32;  // of structs in structs; a format's own are a handful

  size_t count(size_t each) {
    const uint64_t length = varint();
    if (length > (size_ - at_) / each) fail("a value is longer than the footer");
    return static_cast<size_t>(length);
  }

  void skip(int type, bool element, int depth) {
    if (depth > kDeepest) fail("structures are nested too deeply");
    switch (type) {
      case kTrue:
      case kFalse:
        if (element) byte();  // of a field the type itself is the value
        return;
      case kByte: byte(); return;
      case kI16:
      case kI32:
      case kI64: varint(); return;
      case kDouble: skip_bytes(8); return;
      case kUuid: skip_bytes(16); return;
      case kBinary: binary(); return;
      case kList:
      case kSet: {
        int inner = 0;
        for (size_t left = list(&inner); left > 0; --left) skip(inner, true, depth + 1);
        return;
      }
      case kMap: {
        const size_t length = count(1);
        if (!length) return;
        const uint8_t types = byte();
        for (size_t left = length; left > 0; --left) {
          skip(types >> 4, true, depth + 1);
          skip(types & 0x0f, true, depth + 1);
        }
        return;
      }
      case kStruct:
        for (;;) {
          const uint8_t head = byte();
          if ((head & 0x0f) == kStop) return;
          if (!(head >> 4)) varint();
          skip(head & 0x0f, false, depth + 1);
        }
      default: fail("a value has a type that does not exist");
    }
  }

  void skip_bytes(size_t bytes) {
    if (bytes > size_ - at_) fail("the footer ends within a value");
    at_ += bytes;
  }

  const uint8_t* data_;
  size_t size_, at_ = 0;
};

}  // namespace fullpass
