#include "tensor_answer.h"

#include <cstdint>
#include <cstring>

#include "decoder/wire.h"

namespace fullpass {
namespace {

void varint(uint64_t value, std::string* out) {
  uint8_t raw[10];
  out->append(reinterpret_cast<const char*>(raw), static_cast<size_t>(write_varint(raw, value) - raw));
}

// A delimited field of a number below 16.
void field(uint32_t number, std::string_view content, std::string* out) {
  *out += static_cast<char>(number << 3 | kDelimited);
  varint(content.size(), out);
  out->append(content);
}

template <typename T>
void varints(const char* data, size_t count, std::string* out) {
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, data + i * sizeof value, sizeof value);
    varint(static_cast<uint64_t>(static_cast<int64_t>(value)), out);  // a negative int32 takes ten bytes, too
  }
}

struct OutputFacts {
  char dtype;
  uint32_t field;
  size_t size;
};

OutputFacts facts_of(OutputKind kind) {
  switch (kind) {
    case OutputKind::kFloat32: return {1, 5, 4};
    case OutputKind::kFloat64: return {2, 6, 8};
    case OutputKind::kInt32: return {3, 7, 4};
    case OutputKind::kInt64: return {9, 10, 8};
    default: return {10, 11, 1};
  }
}

std::string packed(const Output& output, size_t size, size_t at, size_t count) {
  const char* data = output.data + at * size;
  std::string out;
  switch (output.kind) {
    case OutputKind::kInt32: varints<int32_t>(data, count, &out); break;
    case OutputKind::kInt64: varints<int64_t>(data, count, &out); break;
    case OutputKind::kBool:
      for (size_t i = 0; i < count; ++i) out += static_cast<char>(data[i] != 0);
      break;
    default: out.assign(data, count * size);
  }
  return out;
}

std::string tensor(const Output& output, size_t first, size_t last) {
  const OutputFacts facts = facts_of(output.kind);
  std::string out{static_cast<char>(1 << 3 | kVarint), facts.dtype}, shape;
  size_t in_row = 1;
  const auto dim = [&shape](uint64_t size) {
    std::string text;
    if (size) {
      text += static_cast<char>(1 << 3 | kVarint);
      varint(size, &text);
    }
    field(2, text, &shape);
  };
  dim(last - first);
  for (const int64_t size : output.dims) {
    dim(static_cast<uint64_t>(size));
    in_row *= static_cast<size_t>(size);
  }
  field(2, shape, &out);
  if (in_row && last > first) field(facts.field, packed(output, facts.size, first * in_row, (last - first) * in_row), &out);
  return out;
}

// A field of a number below 16; 0 is what a field that is not there says.
void single(uint32_t number, float value, std::string* out) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  if (raw[0] || raw[1] || raw[2] || raw[3]) (*out += static_cast<char>(number << 3 | kFixed32)).append(raw, sizeof raw);
}

}  // namespace

void write_outputs(const std::vector<Output>& outputs, size_t first, size_t last, std::string* out) {
  for (const Output& each : outputs) {
    std::string entry;
    field(1, each.name, &entry);
    field(2, tensor(each, first, last), &entry);
    field(1, entry, out);
  }
}

void write_regressions(const float* values, size_t first, size_t last, std::string* out) {
  std::string result, one;
  for (size_t row = first; row < last; ++row) {
    one.clear();
    single(1, values[row], &one);
    field(1, one, &result);
  }
  field(1, result, out);
}

void write_classes(const float* scores, const std::vector<std::string_view>& labels, size_t in_row, size_t first, size_t last, std::string* out) {
  std::string result, classes, one;
  for (size_t row = first; row < last; ++row) {
    classes.clear();
    for (size_t at = row * in_row; at < (row + 1) * in_row; ++at) {
      one.clear();
      if (!labels.empty() && !labels[at].empty()) field(1, labels[at], &one);
      single(2, scores[at], &one);
      field(1, one, &classes);
    }
    field(1, classes, &result);
  }
  field(1, result, out);
}

}  // namespace fullpass
