// The Python face of the reader of spans: the GIL is released once for a whole span.
#include "bindings/bindings.h"
#include "framing/span_reader.h"

namespace py = pybind11;
using namespace fullpass;

namespace {

py::tuple batches_of_span(SpanReader& reader, int file, uint64_t start, uint64_t stop, bool exact, int64_t batch_rows) {
  if (batch_rows < 1) throw py::value_error("a batch has at least one row");
  FileSpan span;
  {
    py::gil_scoped_release release;
    span = reader.read(file, start, stop, exact, batch_rows);
  }
  py::list batches;
  for (OwnedArray& batch : span.batches) batches.append(array_capsule(batch.release()));
  return py::make_tuple(span.whole, span.begin, span.end, batches);
}

}  // namespace

void register_spans(py::module_& m) {
  py::class_<SpanReader>(m, "SpanReader")
      .def(py::init([](const Schema& schema, bool strict) { return new SpanReader(schema.fields, strict); }),
           py::keep_alive<1, 2>(), py::arg("schema"), py::arg("strict"))
      .def("read", &batches_of_span, py::arg("file"), py::arg("start"), py::arg("stop"), py::arg("exact"), py::arg("batch_rows"));
}
