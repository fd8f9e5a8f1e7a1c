// One tf.Feature on the wire, read exactly as protobuf reads it.
#pragma once
#include <cstdint>
#include <vector>

#include "decoder/columns.h"
#include "decoder/wire.h"

namespace fullpass {

struct Span {
  const uint8_t* data;
  size_t size;
};

// What a Feature holds in the end: the last of its kinds that was set, merged where that kind came several times.
struct FeatureValues {
  int kind = 0;  // field number in tf.Feature: 0 none, 1 bytes, 2 floats, 3 ints
  std::vector<int64_t> ints;
  std::vector<uint32_t> floats;  // bits
  std::vector<Span> spans;

  void clear(int new_kind) {
    kind = new_kind;
    ints.clear();
    floats.clear();
    spans.clear();
  }
  size_t size() const { return kind == 1 ? spans.size() : kind == 2 ? floats.size() : ints.size(); }
};

// Reads a Feature message; returns false where protobuf would refuse it.
bool parse_feature(const uint8_t* p, const uint8_t* end, FeatureValues* out);

constexpr int feature_field(Kind kind) { return kind == Kind::kBytes ? 1 : kind == Kind::kFloat ? 2 : 3; }
constexpr uint8_t feature_tag(Kind kind) { return static_cast<uint8_t>(feature_field(kind) << 3 | kDelimited); }

inline const char* kind_name(int field) {
  return field == 1 ? "bytes" : field == 2 ? "float" : field == 3 ? "int64" : "nothing";
}

}  // namespace fullpass
