#include "decoder/feature.h"

namespace fullpass {
namespace {

bool parse_bytes_list(const uint8_t* p, const uint8_t* end, FeatureValues* out) {
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    if (field == 1 && type == kDelimited) {
      Span span;
      if (!read_span(&p, end, &span.data, &span.size)) return false;
      out->spans.push_back(span);
    } else if (!skip_value(&p, end, field, type)) {
      return false;
    }
  }
  return true;
}

bool parse_float_list(const uint8_t* p, const uint8_t* end, FeatureValues* out) {
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    if (field == 1 && type == kDelimited) {
      const uint8_t* data;
      size_t size;
      if (!read_span(&p, end, &data, &size) || size % 4) return false;
      const size_t old = out->floats.size();
      out->floats.resize(old + size / 4);
      if (size) std::memcpy(out->floats.data() + old, data, size);
    } else if (field == 1 && type == kFixed32) {
      if (end - p < 4) return false;
      out->floats.push_back(load_u32(p));
      p += 4;
    } else if (!skip_value(&p, end, field, type)) {
      return false;
    }
  }
  return true;
}

bool parse_int64_list(const uint8_t* p, const uint8_t* end, FeatureValues* out) {
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    uint64_t value;
    if (field == 1 && type == kDelimited) {
      const uint8_t* data;
      size_t size;
      if (!read_span(&p, end, &data, &size)) return false;
      for (const uint8_t* stop = data + size; data < stop;) {
        if (!read_varint(&data, stop, &value)) return false;
        out->ints.push_back(static_cast<int64_t>(value));
      }
    } else if (field == 1 && type == kVarint) {
      if (!read_varint(&p, end, &value)) return false;
      out->ints.push_back(static_cast<int64_t>(value));
    } else if (!skip_value(&p, end, field, type)) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool parse_feature(const uint8_t* p, const uint8_t* end, FeatureValues* out) {
  out->clear(0);
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    if (type != kDelimited || field > 3) {
      if (!skip_value(&p, end, field, type)) return false;
      continue;
    }
    const uint8_t* data;
    size_t size;
    if (!read_span(&p, end, &data, &size)) return false;
    const int kind = static_cast<int>(field);
    if (kind != out->kind) out->clear(kind);
    const uint8_t* stop = data + size;
    const bool good = kind == 1 ? parse_bytes_list(data, stop, out)
                                : kind == 2 ? parse_float_list(data, stop, out) : parse_int64_list(data, stop, out);
    if (!good) return false;
  }
  return true;
}

}  // namespace fullpass
