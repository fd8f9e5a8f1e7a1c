// Answers as messages of gRPC.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "json_answer.h"

namespace fullpass {

// Appends the `outputs` of a PredictResponse: rows [first, last) of each output, whose name is given as it is, the values in the field of
// their type, as TensorFlow Serving writes them.
void write_outputs(const std::vector<Output>& outputs, size_t first, size_t last, std::string* out);

// Appends the `result` of a RegressionResponse: values [first, last).
void write_regressions(const float* values, size_t first, size_t last, std::string* out);

// Appends the `result` of a ClassificationResponse: rows [first, last) of so many scores each, with a label for each score or with none at all.
void write_classes(const float* scores, const std::vector<std::string_view>& labels, size_t in_row, size_t first, size_t last, std::string* out);

}  // namespace fullpass
