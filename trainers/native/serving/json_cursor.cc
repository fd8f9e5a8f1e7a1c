#include "json_cursor.h"

#include <array>
#include <charconv>

namespace fullpass {
namespace {

constexpr int64_t kExact = int64_t{1} << 53;  // up to here a double holds every integer

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::array<int8_t, 256> base64_values() {
  std::array<int8_t, 256> values;
  values.fill(-1);
  const char* alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int i = 0; i < 64; ++i) values[static_cast<uint8_t>(alphabet[i])] = static_cast<int8_t>(i);
  return values;
}

const std::array<int8_t, 256> kBase64 = base64_values();

int64_t hex4(const char* p, const char* end) {
  if (end - p < 4) return -1;
  int64_t value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = p[i];
    const int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

void append_utf8(std::string* out, uint32_t point) {
  if (point < 0x80) {
    *out += static_cast<char>(point);
  } else if (point < 0x800) {
    *out += static_cast<char>(0xC0 | point >> 6);
    *out += static_cast<char>(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    *out += static_cast<char>(0xE0 | point >> 12);
    *out += static_cast<char>(0x80 | (point >> 6 & 0x3F));
    *out += static_cast<char>(0x80 | (point & 0x3F));
  } else {
    *out += static_cast<char>(0xF0 | point >> 18);
    *out += static_cast<char>(0x80 | (point >> 12 & 0x3F));
    *out += static_cast<char>(0x80 | (point >> 6 & 0x3F));
    *out += static_cast<char>(0x80 | (point & 0x3F));
  }
}

}  // namespace

bool JsonCursor::string(std::string* out) {
  if (!take('"')) return false;
  for (;;) {
    const char* start = at_;
    while (at_ != end_ && *at_ != '"' && *at_ != '\\' && static_cast<uint8_t>(*at_) >= 0x20 && static_cast<uint8_t>(*at_) < 0x80) ++at_;
    out->append(start, static_cast<size_t>(at_ - start));
    if (at_ == end_) return false;
    if (*at_ == '"') return ++at_, true;
    if (*at_ == '\\' ? !escape(out) : !utf8(out)) return false;
  }
}

bool JsonCursor::skip_list() {
  if (!next_is('[')) return false;
  size_t open = 0;
  for (; at_ != end_; ++at_) {
    if (*at_ == '"') {
      for (++at_; at_ != end_ && *at_ != '"'; ++at_)
        if (*at_ == '\\' && ++at_ == end_) return false;
      if (at_ == end_) return false;
    } else if (*at_ == '[' || *at_ == '{') {
      ++open;
    } else if ((*at_ == ']' || *at_ == '}') && --open == 0) {
      return ++at_, true;
    }
  }
  return false;
}

bool JsonCursor::escape(std::string* out) {
  if (end_ - at_ < 2) return false;
  const char kind = at_[1];
  at_ += 2;
  switch (kind) {
    case '"': case '\\': case '/': *out += kind; return true;
    case 'b': *out += '\b'; return true;
    case 'f': *out += '\f'; return true;
    case 'n': *out += '\n'; return true;
    case 'r': *out += '\r'; return true;
    case 't': *out += '\t'; return true;
    case 'u': break;
    default: return false;
  }
  int64_t point = hex4(at_, end_);
  if (point < 0 || (point >= 0xDC00 && point < 0xE000)) return false;
  at_ += 4;
  if (point >= 0xD800 && point < 0xDC00) {
    if (end_ - at_ < 6 || at_[0] != '\\' || at_[1] != 'u') return false;
    const int64_t low = hex4(at_ + 2, end_);
    if (low < 0xDC00 || low >= 0xE000) return false;
    at_ += 6;
    point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
  }
  append_utf8(out, static_cast<uint32_t>(point));
  return true;
}

// One character of two to four bytes; shortest form only, no surrogates, nothing above U+10FFFF.
bool JsonCursor::utf8(std::string* out) {
  const auto first = static_cast<uint8_t>(*at_);
  const int more = first >= 0xF0 && first <= 0xF4 ? 3 : first >= 0xE0 && first < 0xF0 ? 2 : first >= 0xC2 && first < 0xE0 ? 1 : 0;
  if (more == 0 || end_ - at_ <= more) return false;
  const auto second = static_cast<uint8_t>(at_[1]);
  const uint8_t least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const uint8_t most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (second < least || second > most) return false;
  for (int i = 2; i <= more; ++i)
    if ((static_cast<uint8_t>(at_[i]) & 0xC0) != 0x80) return false;
  out->append(at_, static_cast<size_t>(more) + 1);
  at_ += more + 1;
  return true;
}

bool JsonCursor::base64(std::string* out) {
  if (!take('"')) return false;
  const char* start = at_;
  while (at_ != end_ && kBase64[static_cast<uint8_t>(*at_)] >= 0) ++at_;
  const auto size = static_cast<size_t>(at_ - start);
  const size_t pads = (4 - size % 4) % 4;
  if (pads == 3) return false;
  for (size_t i = 0; i < pads; ++i, ++at_)
    if (at_ == end_ || *at_ != '=') return false;
  if (at_ == end_ || *at_++ != '"') return false;
  const auto value = [start](size_t i) { return static_cast<uint32_t>(kBase64[static_cast<uint8_t>(start[i])]); };
  out->reserve(out->size() + size * 3 / 4);
  size_t i = 0;
  for (; i + 4 <= size; i += 4) {
    const uint32_t group = value(i) << 18 | value(i + 1) << 12 | value(i + 2) << 6 | value(i + 3);
    *out += static_cast<char>(group >> 16);
    *out += static_cast<char>(group >> 8 & 0xFF);
    *out += static_cast<char>(group & 0xFF);
  }
  if (pads == 2) {
    if (value(i + 1) & 0xF) return false;  // bits that no encoder leaves
    *out += static_cast<char>(value(i) << 2 | value(i + 1) >> 4);
  } else if (pads == 1) {
    if (value(i + 2) & 0x3) return false;
    *out += static_cast<char>(value(i) << 2 | value(i + 1) >> 4);
    *out += static_cast<char>((value(i + 1) << 4 | value(i + 2) >> 2) & 0xFF);
  }
  return true;
}

const char* JsonCursor::number_end(bool* whole) const {
  const char* p = at_;
  const auto digits = [&p, this] {
    const char* start = p;
    while (p != end_ && is_digit(*p)) ++p;
    return p != start;
  };
  *whole = true;
  if (p != end_ && *p == '-') ++p;
  if (p != end_ && *p == '0') {
    ++p;
  } else if (!digits()) {
    return nullptr;
  }
  if (p != end_ && *p == '.') {
    *whole = false;
    ++p;
    if (!digits()) return nullptr;
  }
  if (p != end_ && (*p == 'e' || *p == 'E')) {
    *whole = false;
    ++p;
    if (p != end_ && (*p == '+' || *p == '-')) ++p;
    if (!digits()) return nullptr;
  }
  return p;
}

bool JsonCursor::integer(int64_t* out) {
  skip();
  bool whole;
  const char* end = number_end(&whole);
  if (end == nullptr || !whole) return false;
  const auto parsed = std::from_chars(at_, end, *out);
  if (parsed.ec != std::errc() || parsed.ptr != end) return false;
  at_ = end;
  return true;
}

bool JsonCursor::floating(double* out) {
  skip();
  bool whole;
  const char* end = number_end(&whole);
  if (end == nullptr) return false;
  if (whole) {
    int64_t value;
    if (!integer(&value) || value > kExact || value < -kExact) return false;
    *out = static_cast<double>(value);  // "-0" is 0, an integer
    return true;
  }
  const auto parsed = std::from_chars(at_, end, *out);
  if (parsed.ec != std::errc() || parsed.ptr != end) return false;
  at_ = end;
  return true;
}

}  // namespace fullpass
