// Answers of predict requests as JSON's row format.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fullpass {

enum class OutputKind : uint8_t { kFloat32, kFloat64, kInt32, kInt64, kBool };

// An output of a batch: values row after row, `dims` those of a row.
struct Output {
  std::string name;  // as what is written has it: JSON text with its quotes, or bytes of UTF-8
  OutputKind kind;
  const char* data;
  std::vector<int64_t> dims;
};

// Appends {"predictions": [...]} of rows [first, last): a lone output without its name, several as objects. A number is the shortest
// text that reads back as the same number of its type; NaN, Infinity and -Infinity are written so, as TensorFlow Serving does.
void write_predictions(const std::vector<Output>& outputs, size_t first, size_t last, std::string* out);

}  // namespace fullpass
