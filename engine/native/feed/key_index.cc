#include "feed/key_index.h"

#include <algorithm>

namespace fullpass {

KeyIndex::KeyIndex(const std::vector<FieldSpec>& fields, bool lists) : limit_(fields.size() + 256) {
  int column = 0;
  for (const FieldSpec& field : fields) {
    if (has_frames(field.shape) == lists) columns_[field.name] = field.selected ? column : kSkipped;
    if (field.selected) ++column;
  }
}

KeyIndex::Expected KeyIndex::make(std::string_view key, int column) {
  std::string bytes(1, '\x0a');
  size_t size = key.size();
  for (; size >= 0x80; size >>= 7) bytes.push_back(static_cast<char>(size | 0x80));
  bytes.push_back(static_cast<char>(size));
  Expected expected;
  expected.key_at = bytes.size();
  expected.key_size = key.size();
  bytes.append(key);
  bytes.push_back('\x12');
  expected.bytes = bytes;
  expected.size = static_cast<uint32_t>(bytes.size());
  expected.column = column;
  const size_t fitting = std::min(bytes.size(), Expected::kInline * 8);
  expected.used = static_cast<uint32_t>((fitting + 7) / 8);
  std::memcpy(expected.words, bytes.data(), fitting);
  expected.rest = bytes.substr(fitting);
  const size_t tail = fitting % 8;
  expected.last_mask = tail ? (1ull << (8 * tail)) - 1 : ~0ull;
  return expected;
}

int KeyIndex::find(const uint8_t* key, size_t size) {
  const std::string_view name(reinterpret_cast<const char*>(key), size);
  const auto found = columns_.find(name);
  const int column = found == columns_.end() ? kUnknown : found->second;
  const auto place = places_.find(std::string(name));
  if (place != places_.end() && order_[place->second].column == column) {
    // Known, but not expected here: the order has changed. Often so means learning it anew.
    cursor_ = place->second + 1;
    if (++misses_ > 4 * order_.size() + 64) {
      order_.clear();
      places_.clear();
      misses_ = 0;
      cursor_ = 0;
      ++version_;
    }
    return column;
  }
  if (order_.size() < limit_) {
    ++version_;
    order_.insert(order_.begin() + static_cast<std::ptrdiff_t>(cursor_), make(name, column));
    for (auto& [text, at] : places_)
      if (at >= cursor_) ++at;
    places_[std::string(name)] = cursor_++;
  }
  return column;
}

}  // namespace fullpass
