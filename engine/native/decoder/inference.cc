#include "decoder/inference.h"

#include <string_view>

namespace fullpass {

bool Inference::observe(const uint8_t* payload, size_t size) {
  features_.clear();
  lists_.clear();
  const uint8_t* p = payload;
  const uint8_t* end = p + size;
  bool sequence = true;  // whether field 2 is what it is in a SequenceExample; in an Example it is unknown
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    if (field > 2 || type != kDelimited) {
      if (!skip_value(&p, end, field, type)) return false;
      continue;
    }
    size_t length;
    if (!read_length(&p, end, &length)) return false;
    const bool good = find_entries(p, p + length, field == 1 ? &features_ : &lists_);
    if (field == 1 && !good) return false;
    sequence = sequence && good;
    p += length;
  }
  for (const auto& [key, value] : features_) {
    if (!parse_feature(value.data, value.data + value.size, &scratch_)) return false;
    Seen& seen = named(features, key);
    if (scratch_.kind == 0) continue;
    ++seen.present;
    observe_value(&seen);
  }
  std::vector<Seen> found;
  for (const auto& [key, value] : lists_) {
    found.emplace_back();
    sequence = sequence && observe_list(value.data, value.data + value.size, &found.back());
  }
  size_t at = 0;
  for (const auto& [key, value] : lists_) {
    if (!sequence) break;
    Seen& seen = named(lists, key);
    const Seen& here = found[at++];
    seen.kinds |= here.kinds;
    ++seen.present;
    if (here.least >= 0) seen.least = seen.least < 0 ? here.least : std::min(seen.least, here.least);
    seen.most = std::max(seen.most, here.most);
  }
  ++records;
  return true;
}

Seen& Inference::named(ByName& all, std::string_view name) {
  const auto found = all.find(name);
  return found == all.end() ? all.emplace(std::string(name), Seen{}).first->second : found->second;
}

// Notes what scratch_ holds.
void Inference::observe_value(Seen* seen) const {
  const auto count = static_cast<int64_t>(scratch_.size());
  if (scratch_.kind) seen->kinds |= 1u << scratch_.kind;
  seen->least = seen->least < 0 ? count : std::min(seen->least, count);
  seen->most = std::max(seen->most, count);
}

bool Inference::observe_list(const uint8_t* p, const uint8_t* end, Seen* seen) {
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    if (field != 1 || type != kDelimited) {
      if (!skip_value(&p, end, field, type)) return false;
      continue;
    }
    Span frame;
    if (!read_span(&p, end, &frame.data, &frame.size)) return false;
    if (!parse_feature(frame.data, frame.data + frame.size, &scratch_)) return false;
    observe_value(seen);
  }
  return true;
}

bool Inference::find_entries(const uint8_t* p, const uint8_t* end, Entries* entries) {
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    if (field != 1 || type != kDelimited) {
      if (!skip_value(&p, end, field, type)) return false;
      continue;
    }
    size_t length;
    if (!read_length(&p, end, &length) || !find_entry(p, p + length, entries)) return false;
    p += length;
  }
  return true;
}

bool Inference::find_entry(const uint8_t* p, const uint8_t* end, Entries* entries) {
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
  (*entries)[std::string_view(reinterpret_cast<const char*>(key.data), key.size)] = value;
  return true;
}

}  // namespace fullpass
