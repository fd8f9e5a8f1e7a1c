// The Python face of what the feed needs: numpy arrays in and out, the GIL released in between.
#include "bindings/feed_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/byte_rows_module.h"
#include "feed/feed_pack.h"
#include "feed/feistel.h"
#include "feed/plain_pack.h"
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

// What a capsule of Arrow's PyCapsule interface holds.
template <typename Held>
Held& held_by(const py::capsule& capsule, const char* name) {
  auto* held = static_cast<Held*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (!held) throw py::error_already_set();
  return *held;
}

// Packs all columns of a batch in one call, made once for all batches of a feed. `outs` are writable arrays [rows, slots], one an
// item size.
class RowPacker {
 public:
  // columns: (place in batches, name, bytes of an item, first slot, number of slots) each.
  explicit RowPacker(const std::vector<std::tuple<size_t, std::string, size_t, size_t, size_t>>& columns) {
    for (const auto& [place, name, item, start, width] : columns) {
      if (item != 4 && item != 8) throw py::value_error("items of 4 or 8 bytes are packed");
      columns_.push_back({place, name, item, start, width});
    }
  }

  // Returns the numbers of the columns that do not lie in the batch as `outs` take them: their slots are as they were.
  std::vector<size_t> pack(const py::capsule& schema_capsule, const py::capsule& array_capsule, const py::list& outs) const {
    const auto& schema = held_by<const ArrowSchema>(schema_capsule, "arrow_schema");
    const auto& batch = held_by<const ArrowArray>(array_capsule, "arrow_array");
    const auto rows = static_cast<size_t>(batch.length);
    const std::vector<PackedRows> packed = rows_of(outs, rows);
    py::gil_scoped_release release;
    return pack_plain(columns_, schema, batch, packed, 0);
  }

  // Returns whether a whole block was packed: all its columns lie in the batch as `outs` take them, and it has their rows. Else
  // what is in `outs` may not be used.
  bool pack_batch(const py::capsule& schema_capsule, const py::capsule& array_capsule, const py::list& outs, size_t rows) const {
    const auto& schema = held_by<const ArrowSchema>(schema_capsule, "arrow_schema");
    const auto& batch = held_by<const ArrowArray>(array_capsule, "arrow_array");
    const std::vector<PackedRows> packed = rows_of(outs, rows);
    if (batch.length < 0 || static_cast<size_t>(batch.length) != rows) return false;
    py::gil_scoped_release release;
    return pack_plain(columns_, schema, batch, packed, 0).empty();
  }

  // The same for the batches of a stream.
  bool pack_stream(const py::capsule& stream_capsule, const py::list& outs, size_t rows) const {
    auto& stream = held_by<ArrowArrayStream>(stream_capsule, "arrow_array_stream");
    const std::vector<PackedRows> packed = rows_of(outs, rows);
    py::gil_scoped_release release;
    return fullpass::pack_stream(columns_, stream, packed, rows);
  }

 private:
  static std::vector<PackedRows> rows_of(const py::list& outs, size_t rows) {
    std::vector<PackedRows> packed;
    for (const auto& entry : outs) {
      auto out = entry.cast<py::array>();
      if (out.ndim() != 2 || !(out.flags() & py::array::c_style) || !out.writeable() || static_cast<size_t>(out.shape(0)) != rows)
        throw py::value_error("out is not a writable, contiguous array [rows, slots] of the batch's rows");
      packed.push_back({static_cast<size_t>(out.itemsize()), static_cast<size_t>(out.shape(1)),
                        static_cast<uint8_t*>(out.mutable_data())});
    }
    return packed;
  }

  std::vector<WantedColumn> columns_;
};

// jobs: (from [n, w], rows int64 [m], first, stop, to [k, w], slot) each: rows[first:stop] of `from` go to `to` from `slot` on.
// Arrays are contiguous, those of a job of one item size. Taken whole with numbers beside them: a view for each would cost more.
void gather_rows(const py::list& jobs, int threads) {
  std::vector<GatherJob> list;
  list.reserve(jobs.size());
  for (const auto& entry : jobs) {
    const auto job = entry.cast<py::tuple>();
    if (job.size() != 6) throw py::value_error("a gather takes (from, rows, first, stop, to, slot)");
    const auto from = job[0].cast<py::array>();
    if (!py::isinstance<py::array_t<int64_t>>(job[1])) throw py::value_error("rows of a gather are int64");
    const auto rows = py::reinterpret_borrow<py::array_t<int64_t>>(job[1]);
    const auto first = job[2].cast<size_t>(), stop = job[3].cast<size_t>(), slot = job[5].cast<size_t>();
    auto to = job[4].cast<py::array>();
    const auto flat = [](const py::array& array) { return array.ndim() == 2 && (array.flags() & py::array::c_style); };
    if (!flat(from) || !flat(to) || !to.writeable() || rows.ndim() != 1 || !(rows.flags() & py::array::c_style) ||
        from.itemsize() != to.itemsize() || from.shape(1) != to.shape(1))
      throw py::value_error("a gather takes contiguous arrays [n, w], int64 rows [m] and a writable array [k, w]");
    const auto slots = static_cast<size_t>(to.shape(0));
    if (first > stop || stop > static_cast<size_t>(rows.shape(0)) || slot > slots || stop - first > slots - slot)
      throw py::value_error("the rows of a gather do not lie within its arrays");
    const auto row_bytes = static_cast<size_t>(from.shape(1) * from.itemsize());
    list.push_back({static_cast<const uint8_t*>(from.data()), static_cast<size_t>(from.shape(0)), rows.data() + first,
                    stop - first, row_bytes, static_cast<uint8_t*>(to.mutable_data()) + slot * row_bytes});
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
  py::class_<RowPacker>(module, "RowPacker")
      .def(py::init<const std::vector<std::tuple<size_t, std::string, size_t, size_t, size_t>>&>(), py::arg("columns"))
      .def("pack", &RowPacker::pack, py::arg("schema"), py::arg("array"), py::arg("outs"))
      .def("pack_batch", &RowPacker::pack_batch, py::arg("schema"), py::arg("array"), py::arg("outs"), py::arg("rows"))
      .def("pack_stream", &RowPacker::pack_stream, py::arg("stream"), py::arg("outs"), py::arg("rows"));
  module.def("gather_rows", &gather_rows, py::arg("jobs"), py::arg("threads"));
  py::class_<Feistel>(module, "Feistel")
      .def(py::init(&permutation), py::arg("size"), py::arg("a"), py::arg("b"), py::arg("keys"))
      .def("images", &images, py::arg("values"))
      .def("range", &range, py::arg("first"), py::arg("stop"));
  register_byte_rows(module);
}
