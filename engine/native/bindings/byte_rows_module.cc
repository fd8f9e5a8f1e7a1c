// The Python face of rows of strings: Arrow buffers in, TensorProto bytes or Python bytes out.
#include "bindings/byte_rows_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>

#include "rows/byte_rows.h"

namespace py = pybind11;
using namespace fullpass;

namespace {

// columns: (offsets int32 or int64 [rows * width + 1], data, width) each.
std::unique_ptr<ByteRows> from_columns(const py::list& columns, size_t rows) {
  std::vector<BytesColumn> list;
  auto memory = std::make_shared<std::vector<py::buffer_info>>();
  std::vector<py::buffer_info>& kept = *memory;
  size_t width = 0;
  for (const auto& entry : columns) {
    const auto column = entry.cast<py::tuple>();
    const auto offsets = column[0].cast<py::array>();
    kept.push_back(column[1].cast<py::buffer>().request());
    const size_t own = column[2].cast<size_t>();
    if (offsets.ndim() != 1 || !(offsets.flags() & py::array::c_style) || (offsets.itemsize() != 4 && offsets.itemsize() != 8) ||
        static_cast<size_t>(offsets.size()) != rows * own + 1)
      throw py::value_error("the offsets of a column do not fit its rows");
    list.push_back({offsets.data(), offsets.itemsize() == 8, static_cast<const uint8_t*>(kept.back().ptr),
                    static_cast<size_t>(kept.back().size * kept.back().itemsize), own});
    width += own;
  }
  auto out = std::make_unique<ByteRows>(width);
  {
    py::gil_scoped_release release;
    out->append_columns(list, rows);
  }
  // Released with the rows, by whoever lets go of their Python object, and so with the interpreter's lock held.
  if (out->in_place()) out->keep(std::move(memory));
  return out;
}

// rows: int64 [n], numbers in `blocks` laid end to end, block i from row starts[i] on.
void append(ByteRows& self, const py::sequence& sources, const std::vector<int64_t>& starts,
            const py::array_t<int64_t, py::array::c_style>& rows) {
  const auto blocks = sources.cast<std::vector<const ByteRows*>>();
  if (blocks.size() != starts.size()) throw py::value_error("there is not one start for each block");
  for (const ByteRows* block : blocks)
    if (block->width != self.width || block == &self) throw py::value_error("a block has rows of another width");
  const int64_t* numbers = rows.data();
  const size_t count = rows.size();
  {
    py::gil_scoped_release release;
    self.append_rows(blocks, starts, numbers, count);
  }
  if (self.in_place()) self.keep(std::make_shared<py::tuple>(py::tuple(sources)));
}

// The TensorProto of the slices' rows, one after the other, as bytes.
py::bytes tensor(const py::list& slices, const std::vector<int64_t>& shape) {
  std::vector<ByteSlice> parts;
  size_t lengths = 0, data = 0, values = 0, wanted = 1;
  for (const auto& entry : slices) {
    const auto slice = entry.cast<py::tuple>();
    const ByteSlice part{slice[0].cast<const ByteRows*>(), slice[1].cast<size_t>(), slice[2].cast<size_t>()};
    if (part.begin > part.end || part.end > part.rows->rows()) throw py::value_error("a slice is not within its rows");
    lengths += part.rows->length_at[part.end] - part.rows->length_at[part.begin];
    data += part.rows->data_at[part.end] - part.rows->data_at[part.begin];
    values += (part.end - part.begin) * part.rows->width;
    parts.push_back(part);
  }
  for (const int64_t size : shape) wanted *= static_cast<size_t>(size);
  if (values != wanted) throw py::value_error("the shape has another number of strings than the rows");
  const std::string head = tensor_head(shape, lengths + data);
  auto out = py::reinterpret_steal<py::bytes>(
      PyBytes_FromStringAndSize(nullptr, static_cast<py::ssize_t>(head.size() + lengths + data)));
  if (!out) throw py::error_already_set();
  char* to = PyBytes_AS_STRING(out.ptr());
  py::gil_scoped_release release;
  std::memcpy(to, head.data(), head.size());
  char* length = to + head.size();
  char* content = length + lengths;
  for (const ByteSlice& part : parts) {
    const ByteRows& rows = *part.rows;
    const size_t length_bytes = rows.length_at[part.end] - rows.length_at[part.begin];
    if (length_bytes) std::memcpy(length, rows.lengths.data() + rows.length_at[part.begin], length_bytes);
    rows.copy_contents(part.begin, part.end, reinterpret_cast<uint8_t*>(content));
    length += length_bytes;
    content += rows.data_at[part.end] - rows.data_at[part.begin];
  }
  return out;
}

// Fills object [rows, width] with Python bytes.
void to_objects(const ByteRows& self, py::array out) {
  if (out.dtype().kind() != 'O' || !(out.flags() & py::array::c_style) ||
      static_cast<size_t>(out.size()) != self.rows() * self.width)
    throw py::value_error("out is not a contiguous array of objects of the rows' size");
  auto** objects = static_cast<PyObject**>(out.mutable_data());
  const uint8_t* length = self.lengths.data();
  const char* from = reinterpret_cast<const char*>(self.data.data());
  for (size_t i = 0; i < self.rows() * self.width; ++i) {
    uint64_t size = 0;
    for (int shift = 0;; shift += 7) {
      const uint8_t byte = *length++;
      size |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    const char* bytes = self.in_place() ? reinterpret_cast<const char*>(self.place(i / self.width, i % self.width)) : from;
    PyObject* value = PyBytes_FromStringAndSize(size ? bytes : "", static_cast<py::ssize_t>(size));
    if (!value) throw py::error_already_set();
    Py_XSETREF(objects[i], value);
    if (!self.in_place()) from += size;
  }
}

}  // namespace

void register_byte_rows(py::module_& module) {
  py::class_<ByteRows>(module, "ByteRows")
      .def(py::init<size_t>(), py::arg("width"))
      .def_static("from_columns", &from_columns, py::arg("columns"), py::arg("rows"))
      .def_readonly("width", &ByteRows::width)
      .def("__len__", &ByteRows::rows)
      .def("content_bytes", [](const ByteRows& self, size_t begin, size_t end) {
        if (begin > end || end > self.rows()) throw py::value_error("not within the rows");
        return self.content_bytes(begin, end);
      })
      .def("append", &append, py::arg("blocks"), py::arg("starts"), py::arg("rows"))
      .def("append_empty", &ByteRows::append_empty, py::arg("rows"))
      .def("to_objects", &to_objects, py::arg("out"));
  module.def("string_tensor", &tensor, py::arg("slices"), py::arg("shape"));
}
