// The Python face of what the feed needs: numpy arrays in and out, the GIL released in between.
#include "feed_module.h"

#include <pybind11/numpy.h>

#include "byte_rows_module.h"
#include "feed_pack.h"

namespace py = pybind11;
using namespace fullpass;

namespace {

// columns: (values, start, width) each; values one-dimensional and contiguous, of out's item size.
void pack(const py::list& columns, py::array out) {
  if (out.ndim() != 2 || !(out.flags() & py::array::c_style) || !out.writeable())
    throw py::value_error("out is not a writable, contiguous array of two dimensions");
  const size_t rows = out.shape(0), slots = out.shape(1), item = out.itemsize();
  if (item != 4 && item != 8) throw py::value_error("items of 4 or 8 bytes are packed");
  std::vector<PackColumn> list;
  for (const auto& entry : columns) {
    const auto column = entry.cast<py::tuple>();
    const auto values = column[0].cast<py::array>();
    const size_t start = column[1].cast<size_t>(), width = column[2].cast<size_t>();
    if (values.ndim() != 1 || !(values.flags() & py::array::c_style) || static_cast<size_t>(values.itemsize()) != item ||
        static_cast<size_t>(values.size()) != rows * width || start + width > slots)
      throw py::value_error("a column does not fit the packed array");
    list.push_back({static_cast<const uint8_t*>(values.data()), start, width});
  }
  auto* to = static_cast<uint8_t*>(out.mutable_data());
  py::gil_scoped_release release;
  pack_rows(list, rows, slots, item, to);
}

}  // namespace

void register_feed(py::module_& module) {
  module.def("pack_rows", &pack, py::arg("columns"), py::arg("out"));
  register_byte_rows(module);
}
