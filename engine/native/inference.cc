#include "inference.h"

#include <string_view>

namespace fullpass {

bool Inference::observe(const uint8_t* payload, size_t size) {
  last_.clear();
  const uint8_t* p = payload;
  const uint8_t* end = p + size;
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    if (field != 1 || type != kDelimited) {
      if (!skip_value(&p, end, field, type)) return false;
      continue;
    }
    size_t length;
    if (!read_length(&p, end, &length)) return false;
    const uint8_t* stop = p + length;
    while (p < stop) {
      if (!read_tag(&p, stop, &field, &type)) return false;
      if (field != 1 || type != kDelimited) {
        if (!skip_value(&p, stop, field, type)) return false;
        continue;
      }
      if (!read_length(&p, stop, &length) || !observe_entry(p, p + length)) return false;
      p += length;
    }
  }
  for (const auto& [key, value] : last_) {
    if (!parse_feature(value.data, value.data + value.size, &scratch_)) return false;
    auto found = features.find(key);
    if (found == features.end()) found = features.emplace(std::string(key), Seen{}).first;
    Seen& seen = found->second;
    if (scratch_.kind == 0) continue;
    const auto count = static_cast<int64_t>(scratch_.size());
    seen.kinds |= 1u << scratch_.kind;
    ++seen.present;
    seen.least = seen.least < 0 ? count : std::min(seen.least, count);
    seen.most = std::max(seen.most, count);
  }
  ++records;
  return true;
}

bool Inference::observe_entry(const uint8_t* p, const uint8_t* end) {
  Span key{p, 0}, value{p, 0};
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    if (type == kDelimited && (field == 1 || field == 2)) {
      Span* into = field == 1 ? &key : &value;
      if (!read_span(&p, end, &into->data, &into->size)) return false;
    } else if (!skip_value(&p, end, field, type)) {
      return false;
    }
  }
  last_[std::string_view(reinterpret_cast<const char*>(key.data), key.size)] = value;
  return true;
}

}  // namespace fullpass
