#include "packed_request.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "json_cursor.h"
#include "serving/plain_example.h"

namespace fullpass {
namespace {

template <typename T>
void append(std::string* out, T value) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  out->append(raw, sizeof value);
}

class RowReader {
 public:
  RowReader(JsonCursor* json, const SignatureSpec& signature, PackedRequest* out) : json_(json), signature_(signature), out_(out) {
    out->columns.assign(signature.inputs.size(), {});
    for (size_t i = 0; i < signature.inputs.size(); ++i) out->columns[i].dims = signature.inputs[i].dims;
    out->rows = 0;
  }

  // The list of `instances`.
  bool read(size_t max_rows) {
    if (!json_->take('[')) return false;
    do {
      if (out_->rows++ == max_rows || !row()) return false;
    } while (json_->take(','));
    return json_->take(']');
  }

 private:
  bool row() {
    if (!json_->next_is('{')) return signature_.inputs.size() == 1 && (out_->rows == 1 || !named_) && value(0, 0);
    // {"b64": ...} is a value, any other object has the inputs by name; rows of one request are all alike.
    JsonCursor before = *json_;
    std::string key;
    json_->take('{');
    if (!json_->string(&key)) return false;
    const bool named = key != "b64";
    *json_ = before;
    if (out_->rows == 1) named_ = named;
    if (named != named_) return false;
    return named ? named_row() : signature_.inputs.size() == 1 && value(0, 0);
  }

  bool named_row() {
    json_->take('{');
    seen_.assign(signature_.inputs.size(), false);
    size_t found = 0, guess = 0;
    do {
      key_.clear();
      if (!json_->string(&key_) || !json_->take(':')) return false;
      size_t input = guess;  // keys mostly come in one order
      for (size_t tried = 0; signature_.inputs[input].name != key_; input = (input + 1) % seen_.size())
        if (++tried > seen_.size()) return false;
      if (seen_[input] || !value(input, 0)) return false;
      seen_[input] = true;
      ++found;
      guess = (input + 1) % seen_.size();
    } while (json_->take(','));
    return found == seen_.size() && json_->take('}');
  }

  bool value(size_t input, size_t depth) {
    PackedColumn& column = out_->columns[input];
    if (depth == column.dims.size()) return leaf(signature_.inputs[input].kind, &column);
    if (!json_->take('[')) return false;
    int64_t size = 0;
    do {
      if (!value(input, depth + 1)) return false;
      ++size;
    } while (json_->take(','));
    if (!json_->take(']')) return false;
    if (column.dims[depth] == -1) column.dims[depth] = size;
    return column.dims[depth] == size;
  }

  bool leaf(InputKind kind, PackedColumn* column) {
    if (kind == InputKind::kBytes) return text(column);
    if (kind == InputKind::kInt32 || kind == InputKind::kInt64) {
      int64_t number;
      if (!json_->integer(&number)) return false;
      if (kind == InputKind::kInt64) return append(&column->bytes, number), true;
      if (number < std::numeric_limits<int32_t>::min() || number > std::numeric_limits<int32_t>::max()) return false;
      return append(&column->bytes, static_cast<int32_t>(number)), true;
    }
    double number;
    if (!json_->floating(&number)) return false;
    if (kind == InputKind::kFloat64) return append(&column->bytes, number), true;
    // Beyond float's range a conversion is undefined in C++; the other reader makes an infinity of it.
    if (std::fabs(number) > std::numeric_limits<float>::max()) return false;
    return append(&column->bytes, static_cast<float>(number)), true;
  }

  bool text(PackedColumn* column) {
    const size_t start = column->bytes.size();
    if (json_->take('{')) {
      key_.clear();
      if (!json_->string(&key_) || key_ != "b64" || !json_->take(':') || !json_->next_is('"') || !json_->base64(&column->bytes) ||
          !json_->take('}'))
        return false;
    } else if (!json_->string(&column->bytes)) {
      return false;
    }
    const size_t end = column->bytes.size();
    column->ends.push_back(end);
    return !signature_.examples || is_plain_example(reinterpret_cast<const uint8_t*>(column->bytes.data()) + start, end - start);
  }

  JsonCursor* json_;
  const SignatureSpec& signature_;
  PackedRequest* out_;
  bool named_ = false;
  std::string key_;
  std::vector<bool> seen_;
};

}  // namespace

bool find_signature(const std::vector<SignatureSpec>& signatures, const std::string& name, size_t* found) {
  for (size_t i = 0; i < signatures.size(); ++i)
    if (signatures[i].name == name) return *found = i, true;
  return false;
}

bool read_request(const char* data, size_t size, const std::vector<SignatureSpec>& signatures, size_t max_rows, PackedRequest* out) {
  JsonCursor json(data, size), instances = json;
  const char* instances_end = nullptr;
  std::string key, name = "serving_default";
  bool is_named = false;
  if (!json.take('{')) return false;
  do {
    key.clear();
    if (!json.string(&key) || !json.take(':')) return false;
    if (key == "signature_name" && !is_named) {
      name.clear();
      if (!json.string(&name)) return false;
      if (name.empty()) name = "serving_default";
      is_named = true;
    } else if (key == "instances" && instances_end == nullptr) {
      instances = json;  // read once the signature is known, which may be named behind them
      if (!json.skip_list()) return false;
      instances_end = json.position();
    } else {
      return false;
    }
  } while (json.take(','));
  if (!json.take('}') || !json.at_end() || instances_end == nullptr) return false;
  if (!find_signature(signatures, name, &out->signature)) return false;
  return RowReader(&instances, signatures[out->signature], out).read(max_rows) && instances.position() == instances_end;
}

}  // namespace fullpass
