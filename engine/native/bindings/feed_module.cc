// The Python face of what the feed needs: numpy arrays in and out, the GIL released in between.
#include "bindings/feed_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>

#include "bindings/byte_rows_module.h"
#include "feed/feed_pack.h"
#include "feed/feistel.h"
#include "rows/gather.h"

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

// jobs: (from [n, w], rows int64 [m], to [m, w]) each, contiguous, of one item size.
void gather_rows(const py::list& jobs, int threads) {
  std::vector<GatherJob> list;
  for (const auto& entry : jobs) {
    const auto job = entry.cast<py::tuple>();
    const auto from = job[0].cast<py::array>();
    if (!py::isinstance<py::array_t<int64_t>>(job[1])) throw py::value_error("rows of a gather are int64");
    const auto rows = job[1].cast<py::array_t<int64_t>>();
    auto to = job[2].cast<py::array>();
    const auto flat = [](const py::array& array) { return array.ndim() == 2 && (array.flags() & py::array::c_style); };
    if (!flat(from) || !flat(to) || !to.writeable() || rows.ndim() != 1 || !(rows.flags() & py::array::c_style) ||
        from.itemsize() != to.itemsize() || from.shape(1) != to.shape(1) || to.shape(0) != rows.shape(0))
      throw py::value_error("a gather takes contiguous arrays [n, w], int64 rows [m] and a writable array [m, w]");
    list.push_back({static_cast<const uint8_t*>(from.data()), static_cast<size_t>(from.shape(0)), rows.data(),
                    static_cast<size_t>(rows.shape(0)), static_cast<size_t>(from.shape(1) * from.itemsize()),
                    static_cast<uint8_t*>(to.mutable_data())});
  }
  py::gil_scoped_release release;
  gather(list, threads);
}

Feistel permutation(uint64_t size, uint64_t a, uint64_t b, const std::array<uint64_t, Feistel::kRounds>& keys) {
  if (!size || !a || !b || a > UINT64_MAX / b || a * b < size)
    throw py::value_error("a permutation needs sides whose product reaches its size");
  return {size, a, b, keys};
}

py::array_t<int64_t> images(const Feistel& permutation, const py::array_t<uint64_t, py::array::c_style>& values) {
  const auto in = values.unchecked<1>();
  py::array_t<int64_t> out(in.shape(0));
  const uint64_t* from = values.data();
  auto* to = reinterpret_cast<uint64_t*>(out.mutable_data());
  const auto count = static_cast<size_t>(in.shape(0));
  py::gil_scoped_release release;
  for (size_t at = 0; at < count; ++at)
    if (from[at] >= permutation.size) throw std::invalid_argument("a value outside of the permutation");
  permutation.images(from, count, to);
  return out;
}

py::array_t<int64_t> range(const Feistel& permutation, uint64_t first, uint64_t stop) {
  if (first > stop || stop > permutation.size) throw py::value_error("a range outside of the permutation");
  const size_t count = stop - first;
  py::array_t<int64_t> out(static_cast<py::ssize_t>(count));
  auto* to = reinterpret_cast<uint64_t*>(out.mutable_data());
  py::gil_scoped_release release;
  permutation.range(first, count, to);
  return out;
}

}  // namespace

void register_feed(py::module_& module) {
  module.def("pack_rows", &pack, py::arg("columns"), py::arg("out"));
  module.def("gather_rows", &gather_rows, py::arg("jobs"), py::arg("threads"));
  py::class_<Feistel>(module, "Feistel")
      .def(py::init(&permutation), py::arg("size"), py::arg("a"), py::arg("b"), py::arg("keys"))
      .def("images", &images, py::arg("values"))
      .def("range", &range, py::arg("first"), py::arg("stop"));
  register_byte_rows(module);
}
