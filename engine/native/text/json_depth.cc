#include "text/json_depth.h"

#include <algorithm>
#include <cstring>

namespace fullpass {
namespace {

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

}  // namespace

int64_t json_depth(const uint8_t* data, size_t size) {
  const uint8_t* const end = data + size;
  int64_t depth = 0, most = 0;
  for (const uint8_t* at = data; at < end;) {
    const uint8_t byte = *at++;
    if (byte == '"') at = after_text(at, end);
    else if (byte == '{' || byte == '[') most = std::max(most, ++depth);
    else if (byte == '}' || byte == ']') --depth;
  }
  return most;
}

}  // namespace fullpass
