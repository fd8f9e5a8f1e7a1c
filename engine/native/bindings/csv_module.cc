// The Python face of CSV: bytes in, places out; a column of texts in, numbers out.
#include "bindings/csv_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "encoder/arrow_abi.h"
#include "text/csv_text.h"

namespace py = pybind11;
using namespace fullpass;

namespace {

py::tuple cut(const py::buffer& source, char delimiter, int quote, bool first_only, bool at_end) {
  const py::buffer_info info = source.request();
  CsvCut found;
  {
    py::gil_scoped_release release;
    found = cut_records(static_cast<const uint8_t*>(info.ptr), static_cast<size_t>(info.size * info.itemsize),
                        static_cast<uint8_t>(delimiter), quote, first_only, at_end);
  }
  return py::make_tuple(found.stop, found.open_quote, found.lines);
}

// Hands a vector's memory over to numpy.
template <typename T>
py::object taken(std::vector<T>&& values) {
  if (values.empty()) return py::none();
  auto* held = new std::vector<T>(std::move(values));
  py::capsule owner(held, [](void* pointer) { delete static_cast<std::vector<T>*>(pointer); });
  return py::array_t<T>(static_cast<py::ssize_t>(held->size()), held->data(), owner);
}

py::dict numbers(const py::capsule& capsule, const std::unordered_set<std::string>& markers, bool as_float) {
  const auto* array = static_cast<const ArrowArray*>(PyCapsule_GetPointer(capsule.ptr(), "arrow_array"));
  if (!array) throw py::error_already_set();
  if (array->n_buffers != 3) throw py::value_error("not a string array");
  CellNumbers found;
  {
    py::gil_scoped_release release;
    static const int32_t kNoOffsets[1] = {0};
    const auto* offsets = static_cast<const int32_t*>(array->buffers[1]);
    found = read_numbers(offsets ? offsets + array->offset : kNoOffsets, static_cast<const char*>(array->buffers[2]),
                         static_cast<const uint8_t*>(array->buffers[0]), array->offset, array->length, markers, as_float);
  }
  py::dict out;
  out["kind"] = static_cast<int>(found.kind);
  out["values"] = found.kind == CellKind::kInt ? taken(std::move(found.ints)) : taken(std::move(found.floats));
  out["validity"] = taken(std::move(found.validity));
  out["nulls"] = found.nulls;
  out["numbers"] = found.numbers;
  out["texts"] = found.texts;
  out["markers"] = found.markers;
  out["padded"] = found.padded;
  out["as_written"] = found.as_written;
  out["first_text"] = found.first_text;
  out["first_padded"] = found.first_padded;
  out["first_big"] = found.first_big;
  out["first_overflow"] = found.first_overflow;
  out["first_inexact"] = found.first_inexact;
  out["first_not_int"] = found.first_not_int;
  return out;
}

}  // namespace

void register_csv(py::module_& module) {
  module.def("csv_cut", &cut, py::arg("data"), py::arg("delimiter"), py::arg("quote"), py::arg("first_only"), py::arg("at_end"));
  module.def("csv_numbers", &numbers, py::arg("array"), py::arg("markers"), py::arg("as_float"));
}
