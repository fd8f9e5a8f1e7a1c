#include "text/json_shape.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace fullpass {
namespace {

constexpr uint64_t kSeen = uint64_t{1} << 17;

bool is_space(uint8_t byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }

// Returns one past the quote that ends a text, or `end` where none does.
const uint8_t* after_text(const uint8_t* at, const uint8_t* end) {
  while (at < end) {
    const auto* quote = static_cast<const uint8_t*>(std::memchr(at, '"', static_cast<size_t>(end - at)));
    if (quote == nullptr) return end;
    const uint8_t* before = quote;
    while (before > at && before[-1] == '\\') --before;
    at = quote + 1;
    if ((quote - before) % 2 == 0) return at;  // else the last backslash takes the quote's meaning
  }
  return end;
}

bool is_key(const uint8_t* at, const uint8_t* end) {
  while (at < end && is_space(*at)) ++at;
  return at < end && *at == ':';
}

uint64_t place_of(const uint8_t* begin, const uint8_t* end) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (; begin < end; ++begin) hash = (hash ^ *begin) * 0x100000001b3u;
  return (hash ^ (hash >> 32)) % kSeen;
}

}  // namespace

JsonShape json_shape(const uint8_t* data, size_t size) {
  const uint8_t* const end = data + size;
  JsonShape found;
  std::vector<bool> seen(kSeen);  // by hash: two keys of one place count once
  int64_t depth = 0;
  for (const uint8_t* at = data; at < end;) {
    const uint8_t byte = *at++;
    if (depth == 0 && byte != '{' && !is_space(byte) && found.stray < 0) found.stray = at - 1 - data;
    if (byte == '"') {
      const uint8_t* const begin = at;
      at = after_text(at, end);
      if (!is_key(at, end)) continue;
      auto known = seen[place_of(begin, at)];
      found.keys += !known;
      known = true;
    } else if (byte == '{' || byte == '[') {
      found.depth = std::max(found.depth, ++depth);
      found.objects += byte == '{';
    } else if (byte == '}' || byte == ']') {
      --depth;
    }
  }
  found.open = depth;
  return found;
}

}  // namespace fullpass
