// Answers of predict requests as messages of gRPC.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "json_answer.h"

namespace fullpass {

// Appends the `outputs` of a PredictResponse: rows [first, last) of each output, whose name is given as it is, the values in the field of
// their type, as TensorFlow Serving writes them.
void write_outputs(const std::vector<Output>& outputs, size_t first, size_t last, std::string* out);

}  // namespace fullpass
