// Feeds what looks at the shape of JSON with texts of the bytes that mean something to it: a reader byte by byte must find the same.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "text/json_shape.h"

using namespace fullpass;

namespace {

std::mt19937_64 rng;

uint64_t below(uint64_t limit) { return limit ? rng() % limit : 0; }

const char* const kTokens[] = {"{",   "}",    "[",  "]",  ":",     ",",     "\"",     "\\",   "\\\"", "\\\\", "\n", "\r\n", " ",
                               "\t",  "\"a\"", "\"b\"", "1",  "-1.5",  "1e400", "null", "true", "é",    "\xff", "{\"a\":1}\n",
                               "{\"a\\\"b\":[", "\"\\u0041\":", "\xef\xbb\xbf", "NaN", "\"\" :"};

std::string text(uint64_t tokens) {
  std::string out;
  for (uint64_t i = 0; i < tokens; ++i) out += kTokens[below(sizeof(kTokens) / sizeof(*kTokens))];
  if (below(4) == 0 && !out.empty()) out[below(out.size())] = static_cast<char>(below(256));
  return out;
}

// An exact heap allocation: one byte read past the end is a finding.
std::unique_ptr<uint8_t[]> exact(const std::string& bytes) {
  std::unique_ptr<uint8_t[]> copy(new uint8_t[bytes.empty() ? 1 : bytes.size()]);
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return copy;
}

bool is_space(char byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }

// The same, one byte after another.
JsonShape slowly(const std::string& bytes) {
  JsonShape found;
  std::set<std::string> keys;
  std::string inside;
  bool in_text = false, escaped = false, behind_text = false;
  int64_t depth = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    const char byte = bytes[at];
    if (in_text) {
      inside += byte;
      if (escaped) {
        escaped = false;
      } else if (byte == '\\') {
        escaped = true;
      } else if (byte == '"') {
        in_text = false;
        behind_text = true;
      }
      continue;
    }
    if (depth == 0 && byte != '{' && !is_space(byte) && found.stray < 0) found.stray = static_cast<int64_t>(at);
    if (behind_text && byte == ':') keys.insert(inside);
    if (!is_space(byte)) behind_text = false;
    if (byte == '"') {
      in_text = true;
      inside.clear();
    } else if (byte == '{' || byte == '[') {
      found.depth = std::max(found.depth, ++depth);
      found.objects += byte == '{';
    } else if (byte == '}' || byte == ']') {
      --depth;
    }
  }
  found.open = depth;
  found.keys = static_cast<int64_t>(keys.size());
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t runs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 10000;
  rng.seed(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  uint64_t keys = 0;
  for (uint64_t run = 0; run < runs; ++run) {
    const std::string bytes = text(below(50));
    const auto data = exact(bytes);
    const JsonShape found = json_shape(data.get(), bytes.size());
    const JsonShape wanted = slowly(bytes);
    // Two keys of one hash count once.
    const bool same_keys = found.keys <= wanted.keys && found.keys + 1 >= wanted.keys && (found.keys || !wanted.keys);
    if (found.depth != wanted.depth || found.stray != wanted.stray || found.objects != wanted.objects ||
        found.open != wanted.open || !same_keys) {
      std::printf("another shape than byte by byte of: %s\n", bytes.c_str());
      std::abort();
    }
    keys += static_cast<uint64_t>(found.keys);
  }
  std::printf("%" PRIu64 " texts of JSON, %" PRIu64 " keys, no finding\n", runs, keys);
}
