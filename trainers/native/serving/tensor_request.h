// Requests of gRPC, read straight into columns that are joined into batches.
#pragma once
#include <cstddef>
#include <cstdint>

#include "packed_request.h"

namespace fullpass {

// Finds the bytes of the one `model_spec` of a PredictRequest, ClassificationRequest or RegressionRequest that has inputs beside it and nothing else. False for any other message.
bool find_model_spec(const uint8_t* data, size_t size, const uint8_t** spec, size_t* spec_size);

// Reads the inputs of a PredictRequest for this signature into `out`, all but its `signature`.
// False for anything but a request that fits the signature in every tensor, each with all of its values, and has from 1 to `max_rows`
// rows: protobuf reads it then, and another reader says what is wrong with it. Nothing that this reads means another thing to them.
bool read_tensors(const uint8_t* data, size_t size, const SignatureSpec& signature, size_t max_rows, PackedRequest* out);

// Likewise the examples of a ClassificationRequest or RegressionRequest; false where they have a context.
bool read_examples(const uint8_t* data, size_t size, const SignatureSpec& signature, size_t max_rows, PackedRequest* out);

}  // namespace fullpass
