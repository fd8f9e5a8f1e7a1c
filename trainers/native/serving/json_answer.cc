#include "json_answer.h"

#include <charconv>
#include <cmath>
#include <cstring>

namespace fullpass {
namespace {

template <typename T>
T load(const char* data, size_t position) {
  T value;
  std::memcpy(&value, data + position * sizeof value, sizeof value);
  return value;
}

template <typename T>
void whole(T value, std::string* out) {
  char text[24];
  out->append(text, static_cast<size_t>(std::to_chars(text, text + sizeof text, value).ptr - text));
}

template <typename T>
void floating(T value, std::string* out) {
  if (std::isnan(value)) {
    out->append("NaN");
  } else if (std::isinf(value)) {
    out->append(value > 0 ? "Infinity" : "-Infinity");
  } else {
    char text[40];
    const auto size = static_cast<size_t>(std::to_chars(text, text + sizeof text, value).ptr - text);
    out->append(text, size);
    if (std::memchr(text, '.', size) == nullptr && std::memchr(text, 'e', size) == nullptr) out->append(".0");
  }
}

void value(const Output& output, size_t position, std::string* out) {
  switch (output.kind) {
    case OutputKind::kFloat32: return floating(load<float>(output.data, position), out);
    case OutputKind::kFloat64: return floating(load<double>(output.data, position), out);
    case OutputKind::kInt32: return whole(load<int32_t>(output.data, position), out);
    case OutputKind::kInt64: return whole(load<int64_t>(output.data, position), out);
    case OutputKind::kBool: out->append(output.data[position] ? "true" : "false");
  }
}

// Returns the position behind the value that starts at `position`.
size_t nested(const Output& output, size_t depth, size_t position, std::string* out) {
  if (depth == output.dims.size()) return value(output, position, out), position + 1;
  *out += '[';
  for (int64_t i = 0; i < output.dims[depth]; ++i) {
    if (i) out->append(", ");
    position = nested(output, depth + 1, position, out);
  }
  *out += ']';
  return position;
}

void cell(const Output& output, size_t row, std::string* out) {
  size_t size = 1;
  for (const int64_t dim : output.dims) size *= static_cast<size_t>(dim);
  nested(output, 0, row * size, out);
}

}  // namespace

void write_predictions(const std::vector<Output>& outputs, size_t first, size_t last, std::string* out) {
  out->append("{\"predictions\": [");
  for (size_t row = first; row < last; ++row) {
    if (row != first) out->append(", ");
    if (outputs.size() == 1) {
      cell(outputs[0], row, out);
      continue;
    }
    *out += '{';
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (i) out->append(", ");
      out->append(outputs[i].name).append(": ");
      cell(outputs[i], row, out);
    }
    *out += '}';
  }
  out->append("]}");
}

}  // namespace fullpass
