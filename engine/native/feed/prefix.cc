#include "feed/prefix.h"

#include <string>

#include "decoder/feature.h"

namespace fullpass {

Prefix::Prefix(std::string_view key, Kind kind) {
  const size_t total = key.size() + 10;
  if (total > kWords * 8) return;
  std::string bytes{'\x0a', static_cast<char>(key.size() + 8), '\x0a', static_cast<char>(key.size())};
  bytes.append(key);
  bytes.append({'\x12', '\x04', static_cast<char>(feature_tag(kind)), '\x02', '\x0a', '\x00'});
  std::string lengths(total, '\x00');
  for (const size_t at : {size_t{1}, total - 5, total - 3, total - 1}) lengths[at] = 1;
  std::memcpy(base, bytes.data(), total);
  std::memcpy(scale, lengths.data(), total);
  size = static_cast<uint32_t>(total);
  words = (size + 7) / 8;
  const uint32_t tail = size % 8;
  last_mask = tail ? (1ull << (8 * tail)) - 1 : ~0ull;
  most = 127 - static_cast<uint32_t>(key.size() + 8);
}

}  // namespace fullpass
