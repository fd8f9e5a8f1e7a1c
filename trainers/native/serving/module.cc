// The Python face of the server's native code: requests are read, their rows joined, their answers written.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "json_answer.h"
#include "packed_request.h"
#include "tensor_answer.h"
#include "tensor_request.h"

namespace py = pybind11;
using namespace fullpass;

namespace {

InputKind input_kind(const std::string& dtype) {
  if (dtype == "bytes") return InputKind::kBytes;
  if (dtype == "float32") return InputKind::kFloat32;
  if (dtype == "float64") return InputKind::kFloat64;
  if (dtype == "int32") return InputKind::kInt32;
  if (dtype == "int64") return InputKind::kInt64;
  throw py::value_error("no such kind of input: " + dtype);
}

py::dtype numpy_type(InputKind kind) {
  switch (kind) {
    case InputKind::kFloat32: return py::dtype::of<float>();
    case InputKind::kFloat64: return py::dtype::of<double>();
    case InputKind::kInt32: return py::dtype::of<int32_t>();
    default: return py::dtype::of<int64_t>();
  }
}

using Signatures = std::vector<SignatureSpec>;

// A request that was read, and what its columns are.
struct Packed {
  std::shared_ptr<const Signatures> signatures;
  PackedRequest request;
  const SignatureSpec& signature() const { return (*signatures)[request.signature]; }
};

// The signatures of a version that requests are read for.
class RequestReader {
 public:
  RequestReader() : signatures_(std::make_shared<Signatures>()) {}
  void add(std::string name, const std::vector<std::tuple<std::string, std::string, std::vector<int64_t>>>& inputs, bool examples) {
    SignatureSpec spec{std::move(name), {}, examples};
    for (const auto& [input, dtype, dims] : inputs) spec.inputs.push_back({input, input_kind(dtype), dims});
    if (spec.inputs.empty()) throw py::value_error("a signature has one or more inputs");
    signatures_->push_back(std::move(spec));
  }
  // The request of a JSON body, or None where another reader must look at it.
  py::object read(const py::bytes& body, size_t max_rows) const {
    return packed(body, [&](const char* data, size_t size, PackedRequest* out) {
      return read_request(data, size, *signatures_, max_rows, out);
    });
  }
  // The request of a PredictRequest message for a signature, or None where another reader must look at it.
  py::object read_message(const py::bytes& body, const std::string& signature, size_t max_rows) const {
    size_t found;
    if (!find_signature(*signatures_, signature, &found)) return py::none();
    return packed(body, [&](const char* data, size_t size, PackedRequest* out) {
      out->signature = found;
      return read_tensors(reinterpret_cast<const uint8_t*>(data), size, (*signatures_)[found], max_rows, out);
    });
  }
  // Likewise of a ClassificationRequest or RegressionRequest.
  py::object read_examples(const py::bytes& body, const std::string& signature, size_t max_rows) const {
    size_t found;
    if (!find_signature(*signatures_, signature, &found)) return py::none();
    return packed(body, [&](const char* data, size_t size, PackedRequest* out) {
      out->signature = found;
      return fullpass::read_examples(reinterpret_cast<const uint8_t*>(data), size, (*signatures_)[found], max_rows, out);
    });
  }

 private:
  template <typename Read>
  py::object packed(const py::bytes& body, Read read) const {
    char* data;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(body.ptr(), &data, &size) != 0) throw py::error_already_set();
    auto out = std::make_unique<Packed>();
    bool is_read;
    if (size > kSmall) {
      py::gil_scoped_release release;
      is_read = read(data, static_cast<size_t>(size), &out->request);
    } else {
      is_read = read(data, static_cast<size_t>(size), &out->request);
    }
    if (!is_read) return py::none();
    out->signatures = signatures_;
    return py::cast(std::move(out));
  }

  static constexpr Py_ssize_t kSmall = 1 << 14;  // bytes that are read sooner than another thread takes the lock
  std::shared_ptr<Signatures> signatures_;
};

// Whether two requests may be in one batch.
bool joins(const Packed& first, const Packed& other) {
  if (first.signatures != other.signatures || first.request.signature != other.request.signature) return false;
  for (size_t i = 0; i < first.request.columns.size(); ++i)
    if (first.request.columns[i].dims != other.request.columns[i].dims) return false;
  return true;
}

py::object joined_numbers(const std::vector<const Packed*>& requests, size_t input, size_t rows, size_t padded, InputKind kind) {
  const PackedColumn& head = requests[0]->request.columns[input];
  std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(padded)};
  size_t row_bytes = item_size(kind);
  for (const int64_t dim : head.dims) {
    shape.push_back(static_cast<py::ssize_t>(dim));
    row_bytes *= static_cast<size_t>(dim);
  }
  py::array out(numpy_type(kind), shape);
  char* at = static_cast<char*>(out.mutable_data());
  for (const Packed* each : requests) {
    const std::string& bytes = each->request.columns[input].bytes;
    std::memcpy(at, bytes.data(), bytes.size());
    at += bytes.size();
  }
  for (size_t row = rows; row < padded; ++row, at += row_bytes) std::memcpy(at, head.bytes.data(), row_bytes);
  return std::move(out);
}

py::object joined_strings(const std::vector<const Packed*>& requests, size_t input, size_t rows, size_t padded) {
  size_t in_row = 1;
  for (const int64_t dim : requests[0]->request.columns[input].dims) in_row *= static_cast<size_t>(dim);
  py::list out(padded * in_row);
  size_t at = 0;
  for (const Packed* each : requests) {
    const PackedColumn& column = each->request.columns[input];
    size_t start = 0;
    for (const size_t end : column.ends) {
      out[at++] = py::bytes(column.bytes.data() + start, end - start);
      start = end;
    }
  }
  for (size_t row = rows; row < padded; ++row)
    for (size_t i = 0; i < in_row; ++i) out[at++] = py::object(out[i]);
  return std::move(out);
}

// The columns of requests that join, each padded to `padded` rows with copies of the first: an array, or a flat list of bytes.
py::dict join_packed(const std::vector<const Packed*>& requests, size_t padded) {
  if (requests.empty()) throw py::value_error("expected one or more requests");
  size_t rows = 0;
  for (const Packed* each : requests) {
    if (!joins(*requests[0], *each)) throw py::value_error("the requests do not join");
    rows += each->request.rows;
  }
  padded = std::max(padded, rows);
  py::dict out;
  const std::vector<InputSpec>& inputs = requests[0]->signature().inputs;
  for (size_t i = 0; i < inputs.size(); ++i)
    out[py::str(inputs[i].name)] = inputs[i].kind == InputKind::kBytes ? joined_strings(requests, i, rows, padded)
                                                                       : joined_numbers(requests, i, rows, padded, inputs[i].kind);
  return out;
}

bool output_kind(const py::dtype& dtype, OutputKind* kind) {
  const char letter = dtype.kind();
  const auto size = dtype.itemsize();
  if (letter == 'f' && size == 4) return *kind = OutputKind::kFloat32, true;
  if (letter == 'f' && size == 8) return *kind = OutputKind::kFloat64, true;
  if (letter == 'i' && size == 4) return *kind = OutputKind::kInt32, true;
  if (letter == 'i' && size == 8) return *kind = OutputKind::kInt64, true;
  if (letter == 'b') return *kind = OutputKind::kBool, true;
  return false;
}

using Spans = std::vector<std::pair<size_t, size_t>>;

// How many rows there must be for these spans of them.
size_t rows_of(const Spans& spans) {
  size_t rows = 0;
  for (const auto& [first, last] : spans) {
    if (last < first) throw py::value_error("a span of rows ends before it starts");
    rows = std::max(rows, last);
  }
  return rows;
}

// What `write` makes of each span of rows.
template <typename Write>
py::list texts_of(const Spans& spans, Write write) {
  std::string text;
  std::vector<size_t> ends;
  {
    py::gil_scoped_release release;
    for (const auto& [first, last] : spans) {
      write(first, last, &text);
      ends.push_back(text.size());
    }
  }
  py::list out(spans.size());
  size_t start = 0;
  for (size_t i = 0; i < ends.size(); ++i) {
    out[i] = py::bytes(text.data() + start, ends[i] - start);
    start = ends[i];
  }
  return out;
}

// What `write` makes of each span of rows; None where an output is not of numbers.
template <typename Write>
py::object written(const std::vector<std::pair<std::string, py::array>>& outputs, const Spans& spans, Write write) {
  std::vector<Output> views;
  std::vector<py::array> kept;  // what the views look at
  const size_t rows = rows_of(spans);
  for (const auto& [name, array] : outputs) {
    OutputKind kind;
    if (!output_kind(array.dtype(), &kind)) return py::none();
    py::array whole = py::array::ensure(array, py::array::c_style);
    if (!whole || whole.ndim() < 1 || static_cast<size_t>(whole.shape(0)) < rows) throw py::value_error("an output has too few rows");
    Output view{name, kind, static_cast<const char*>(whole.data()), {}};
    for (py::ssize_t i = 1; i < whole.ndim(); ++i) view.dims.push_back(whole.shape(i));
    kept.push_back(std::move(whole));
    views.push_back(std::move(view));
  }
  return texts_of(spans, [&](size_t first, size_t last, std::string* text) { write(views, first, last, text); });
}

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

py::list regressions_message(const Floats& values, const Spans& spans) {
  if (static_cast<size_t>(values.size()) < rows_of(spans)) throw py::value_error("there are too few values");
  return texts_of(spans, [data = values.data()](size_t first, size_t last, std::string* text) { write_regressions(data, first, last, text); });
}

py::list classes_message(const Floats& scores, const std::optional<std::vector<py::bytes>>& labels, const Spans& spans) {
  if (scores.ndim() != 2 || static_cast<size_t>(scores.shape(0)) < rows_of(spans)) throw py::value_error("there are too few rows of scores");
  std::vector<std::string_view> views;
  if (labels) {
    if (labels->size() != static_cast<size_t>(scores.size())) throw py::value_error("there is not a label for each score");
    for (const py::bytes& each : *labels) views.push_back(each);
  }
  const auto in_row = static_cast<size_t>(scores.shape(1));
  return texts_of(spans, [&, data = scores.data()](size_t first, size_t last, std::string* text) {
    write_classes(data, views, in_row, first, last, text);
  });
}

py::object model_spec(const py::bytes& body) {
  char* data;
  Py_ssize_t size;
  if (PyBytes_AsStringAndSize(body.ptr(), &data, &size) != 0) throw py::error_already_set();
  const uint8_t* spec;
  size_t spec_size;
  if (!find_model_spec(reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(size), &spec, &spec_size)) return py::none();
  return py::bytes(reinterpret_cast<const char*>(spec), spec_size);
}

}  // namespace

PYBIND11_MODULE(_serving, m) {
  m.doc() = "Requests and answers in JSON and as messages of gRPC, a batch at a time.";
  py::class_<Packed>(m, "Packed")
      .def_property_readonly("signature", [](const Packed& packed) { return packed.signature().name; })
      .def_property_readonly("rows", [](const Packed& packed) { return packed.request.rows; })
      .def("joins", &joins, py::arg("other"))
      .def("shape", [](const Packed& packed, size_t input) { return packed.request.columns.at(input).dims; }, py::arg("input"));
  py::class_<RequestReader>(m, "RequestReader")
      .def(py::init<>())
      .def("add", &RequestReader::add, py::arg("name"), py::arg("inputs"), py::arg("examples"))
      .def("read", &RequestReader::read, py::arg("body"), py::arg("max_rows"))
      .def("read_message", &RequestReader::read_message, py::arg("body"), py::arg("signature"), py::arg("max_rows"))
      .def("read_examples", &RequestReader::read_examples, py::arg("body"), py::arg("signature"), py::arg("max_rows"));
  m.def("join_packed", &join_packed, py::arg("requests"), py::arg("padded"));
  m.def("model_spec", &model_spec, py::arg("body"));
  m.def("predictions_json", [](const std::vector<std::pair<std::string, py::array>>& outputs, const Spans& spans) {
    return written(outputs, spans, write_predictions);
  }, py::arg("outputs"), py::arg("spans"));
  m.def("outputs_message", [](const std::vector<std::pair<std::string, py::array>>& outputs, const Spans& spans) {
    return written(outputs, spans, write_outputs);
  }, py::arg("outputs"), py::arg("spans"));
  m.def("regressions_message", &regressions_message, py::arg("values"), py::arg("spans"));
  m.def("classes_message", &classes_message, py::arg("scores"), py::arg("labels"), py::arg("spans"));
}
