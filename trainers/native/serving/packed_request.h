// Predict requests in JSON's row format, read straight into columns that are joined into batches.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fullpass {

enum class InputKind : uint8_t { kBytes, kFloat32, kFloat64, kInt32, kInt64 };

// Bytes of a value; 0 for strings.
inline size_t item_size(InputKind kind) {
  switch (kind) {
    case InputKind::kFloat32: case InputKind::kInt32: return 4;
    case InputKind::kFloat64: case InputKind::kInt64: return 8;
    default: return 0;
  }
}

// An input of a signature: `dims` are those of a row, -1 where any size fits.
struct InputSpec {
  std::string name;
  InputKind kind;
  std::vector<int64_t> dims;
};

struct SignatureSpec {
  std::string name;
  std::vector<InputSpec> inputs;
  bool examples;  // its one input holds serialized tf.Examples
};

// The values of one input, row after row; strings end at `ends`.
struct PackedColumn {
  std::string bytes;
  std::vector<size_t> ends;
  std::vector<int64_t> dims;
};

// Whose `signature` is the position in what read it.
struct PackedRequest {
  size_t signature = 0, rows = 0;
  std::vector<PackedColumn> columns;
};

// Finds the position of the signature of this name.
bool find_signature(const std::vector<SignatureSpec>& signatures, const std::string& name, size_t* found);

// Reads {"instances": [...], "signature_name": "..."} into `out`, the signature `serving_default` where none is named.
// False for anything but a request that fits its signature in every value and has at most `max_rows` rows: another reader says what
// is wrong with it, or takes what this one does not. Nothing that this reads means another thing to that reader.
bool read_request(const char* data, size_t size, const std::vector<SignatureSpec>& signatures, size_t max_rows, PackedRequest* out);

}  // namespace fullpass
