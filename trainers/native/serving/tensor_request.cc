#include "tensor_request.h"

#include <cstring>
#include <vector>

#include "decoder/wire.h"
#include "serving/plain_example.h"

namespace fullpass {
namespace {

// Tags of PredictRequest, of an entry of its map and of TensorProto.
constexpr uint32_t kModelSpec = 1 << 3 | kDelimited, kInput = 2 << 3 | kDelimited;
constexpr uint32_t kKey = 1 << 3 | kDelimited, kValue = 2 << 3 | kDelimited;
constexpr uint32_t kDtype = 1 << 3 | kVarint, kShape = 2 << 3 | kDelimited, kVersion = 3 << 3 | kVarint, kContent = 4 << 3 | kDelimited;
// Of Input and of its list of examples.
constexpr uint32_t kExampleList = 1 << 3 | kDelimited, kExample = 1 << 3 | kDelimited;
constexpr uint32_t kDim = 2 << 3 | kDelimited, kDimSize = 1 << 3 | kVarint;

struct Span {
  const uint8_t* data = nullptr;
  size_t size = 0;
};

// What a TensorProto has of each kind of values: the number of its DataType and of the field that they are in.
struct KindFacts {
  uint64_t dtype;
  uint32_t field;
  uint32_t wire;  // of a value that is not packed
};

KindFacts facts_of(InputKind kind) {
  switch (kind) {
    case InputKind::kFloat32: return {1, 5, kFixed32};
    case InputKind::kFloat64: return {2, 6, kFixed64};
    case InputKind::kInt32: return {3, 7, kVarint};
    case InputKind::kInt64: return {9, 10, kVarint};
    default: return {7, 8, kDelimited};
  }
}

bool read_known_tag(const uint8_t** p, const uint8_t* end, uint32_t* tag) {
  uint32_t field, type;
  if (!read_tag(p, end, &field, &type)) return false;
  *tag = field << 3 | type;
  return true;
}

// Takes a delimited field that may be there once.
bool take_once(const uint8_t** p, const uint8_t* end, Span* out) {
  return out->data == nullptr && read_span(p, end, &out->data, &out->size);
}

class TensorReader {
 public:
  TensorReader(const InputSpec& input, bool examples, PackedColumn* out)
      : input_(input), facts_(facts_of(input.kind)), examples_(examples), out_(out) {}

  // Reads a TensorProto of so many rows; 0 takes as many as it says.
  bool read(Span tensor, size_t max_rows, size_t* rows) {
    Span shape, content;
    bool has_dtype = false;
    for (const uint8_t *p = tensor.data, *end = p + tensor.size; p < end;) {
      uint32_t tag;
      uint64_t number;
      if (!read_known_tag(&p, end, &tag)) return false;
      if (tag == kDtype) {
        if (has_dtype || !read_varint(&p, end, &number) || number != facts_.dtype) return false;
        has_dtype = true;
      } else if (tag == kShape) {
        if (!take_once(&p, end, &shape)) return false;
      } else if (tag == kContent) {
        if (!take_once(&p, end, &content)) return false;
      } else if (tag == kVersion) {
        if (!read_varint(&p, end, &number)) return false;
      } else if (tag >> 3 != facts_.field || !skip_value(&p, end, facts_.field, tag & 7)) {
        return false;
      }
    }
    if (!has_dtype || shape.data == nullptr || !read_shape(shape, tensor.size, max_rows, rows)) return false;
    if (content.size == 0) return values(tensor) && count_ == elements_;
    return input_.kind != InputKind::kBytes && content.size == elements_ * item_size(input_.kind) && no_values(tensor) &&
           (out_->bytes.assign(reinterpret_cast<const char*>(content.data), content.size), true);
  }

 private:
  bool read_shape(Span shape, size_t bytes, size_t max_rows, size_t* rows) {
    std::vector<uint64_t> sizes;
    for (const uint8_t *p = shape.data, *end = p + shape.size; p < end;) {
      uint32_t tag;
      Span dim;
      if (!read_known_tag(&p, end, &tag) || tag != kDim || !take_once(&p, end, &dim)) return false;
      const uint8_t* at = dim.data;
      uint64_t size;
      // Anything but a size, as a name or a size of 0 that is not written, is the other reader's.
      if (!read_known_tag(&at, dim.data + dim.size, &tag) || tag != kDimSize || !read_varint(&at, dim.data + dim.size, &size) ||
          at != dim.data + dim.size || size == 0 || sizes.size() > input_.dims.size())
        return false;
      sizes.push_back(size);
    }
    if (sizes.size() != input_.dims.size() + 1 || sizes[0] > max_rows || (*rows && sizes[0] != *rows)) return false;
    *rows = sizes[0];
    elements_ = sizes[0];
    out_->dims = input_.dims;
    for (size_t i = 0; i < out_->dims.size(); ++i) {
      const uint64_t size = sizes[i + 1];
      // A value takes a byte at least, so more values than bytes are never there.
      if ((input_.dims[i] != -1 && static_cast<uint64_t>(input_.dims[i]) != size) || size > bytes / elements_) return false;
      elements_ *= size;
      out_->dims[i] = static_cast<int64_t>(size);
    }
    return elements_ <= bytes;
  }

  bool no_values(Span tensor) {
    for (const uint8_t *p = tensor.data, *end = p + tensor.size; p < end;) {
      uint32_t tag;
      if (!read_known_tag(&p, end, &tag) || tag >> 3 == facts_.field || !skip_value(&p, end, tag >> 3, tag & 7)) return false;
    }
    return true;
  }

  bool values(Span tensor) {
    for (const uint8_t *p = tensor.data, *end = p + tensor.size; p < end;) {
      uint32_t tag;
      Span run;
      if (!read_known_tag(&p, end, &tag)) return false;
      if (tag >> 3 != facts_.field) {
        if (!skip_value(&p, end, tag >> 3, tag & 7)) return false;
      } else if (input_.kind == InputKind::kBytes) {
        if ((tag & 7) != kDelimited || !take_once(&p, end, &run) || !text(run)) return false;
      } else if ((tag & 7) == kDelimited) {
        if (!take_once(&p, end, &run)) return false;
        for (const uint8_t* at = run.data; at < run.data + run.size;)
          if (!number(&at, run.data + run.size)) return false;
      } else if ((tag & 7) != facts_.wire || !number(&p, end)) {
        return false;
      }
    }
    return true;
  }

  bool number(const uint8_t** p, const uint8_t* end) {
    if (count_++ == elements_) return false;
    if (facts_.wire == kVarint) {
      uint64_t value;
      if (!read_varint(p, end, &value)) return false;
      const int32_t narrow = static_cast<int32_t>(value);  // protobuf writes a negative int32 with ten bytes
      if (input_.kind == InputKind::kInt32) out_->bytes.append(reinterpret_cast<const char*>(&narrow), sizeof narrow);
      else out_->bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
      return true;
    }
    const size_t size = item_size(input_.kind);
    if (static_cast<size_t>(end - *p) < size) return false;
    out_->bytes.append(reinterpret_cast<const char*>(*p), size);
    *p += size;
    return true;
  }

  bool text(Span value) {
    if (count_++ == elements_ || (examples_ && !is_plain_example(value.data, value.size))) return false;
    out_->bytes.append(reinterpret_cast<const char*>(value.data), value.size);
    out_->ends.push_back(out_->bytes.size());
    return true;
  }

  const InputSpec& input_;
  const KindFacts facts_;
  const bool examples_;
  PackedColumn* out_;
  size_t elements_ = 0, count_ = 0;
};

// Reads the key and the value of a map's entry, each there once.
bool read_entry(Span entry, Span* key, Span* value) {
  for (const uint8_t *p = entry.data, *end = p + entry.size; p < end;) {
    uint32_t tag;
    if (!read_known_tag(&p, end, &tag) || (tag != kKey && tag != kValue) || !take_once(&p, end, tag == kKey ? key : value)) return false;
  }
  return key->data != nullptr && value->data != nullptr;
}

}  // namespace

bool find_model_spec(const uint8_t* data, size_t size, const uint8_t** spec, size_t* spec_size) {
  Span found;
  for (const uint8_t *p = data, *end = data + size; p < end;) {
    uint32_t tag;
    Span input;
    if (!read_known_tag(&p, end, &tag) || (tag != kModelSpec && tag != kInput) || !take_once(&p, end, tag == kInput ? &input : &found))
      return false;
  }
  *spec = found.data;
  *spec_size = found.size;
  return found.data != nullptr;
}

bool read_tensors(const uint8_t* data, size_t size, const SignatureSpec& signature, size_t max_rows, PackedRequest* out) {
  out->columns.assign(signature.inputs.size(), {});
  out->rows = 0;
  std::vector<bool> seen(signature.inputs.size());
  size_t found = 0;
  for (const uint8_t *p = data, *end = data + size; p < end;) {
    uint32_t tag;
    Span entry, key, value;
    if (!read_known_tag(&p, end, &tag) || !take_once(&p, end, &entry)) return false;
    if (tag != kInput) continue;
    if (!read_entry(entry, &key, &value)) return false;
    size_t at = 0;
    for (; at < seen.size(); ++at) {
      const std::string& name = signature.inputs[at].name;
      if (name.size() == key.size && std::memcmp(name.data(), key.data, key.size) == 0) break;
    }
    if (at == seen.size() || seen[at]) return false;
    if (!TensorReader(signature.inputs[at], signature.examples, &out->columns[at]).read(value, max_rows, &out->rows)) return false;
    seen[at] = true;
    ++found;
  }
  return found == seen.size() && out->rows > 0;
}

bool read_examples(const uint8_t* data, size_t size, const SignatureSpec& signature, size_t max_rows, PackedRequest* out) {
  if (!signature.examples) return false;
  out->columns.assign(1, {});
  out->rows = 0;
  Span input, list;
  uint32_t tag;
  for (const uint8_t *p = data, *end = data + size; p < end;) {
    Span spec;
    // An input that is there twice is one of both to protobuf.
    if (!read_known_tag(&p, end, &tag) || (tag != kModelSpec && tag != kInput) || !take_once(&p, end, tag == kInput ? &input : &spec))
      return false;
  }
  if (input.data == nullptr) return false;
  const uint8_t *at = input.data, *input_end = at + input.size;
  if (!read_known_tag(&at, input_end, &tag) || tag != kExampleList || !take_once(&at, input_end, &list) || at != input_end) return false;
  PackedColumn& column = out->columns[0];
  for (const uint8_t *p = list.data, *end = p + list.size; p < end;) {
    Span example;
    if (out->rows++ == max_rows || !read_known_tag(&p, end, &tag) || tag != kExample || !take_once(&p, end, &example) ||
        !is_plain_example(example.data, example.size, Names::kAscii))
      return false;
    column.bytes.append(reinterpret_cast<const char*>(example.data), example.size);
    column.ends.push_back(column.bytes.size());
  }
  return out->rows > 0;
}

}  // namespace fullpass
