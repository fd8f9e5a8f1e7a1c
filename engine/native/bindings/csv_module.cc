// The Python face of text: of CSV bytes in, places out, and a column of texts in, numbers out; of JSON its depth.
#include "bindings/csv_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <new>
#include <tuple>

#include "encoder/arrow_abi.h"
#include "text/csv_escapes.h"
#include "text/csv_text.h"
#include "text/json_shape.h"

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
  return py::make_tuple(found.stop, found.open_quote, found.lines, found.stray_text);
}

// Returns (bytes taken, the bytes rewritten, whether the file ends in an escape character).
py::tuple unescape(const py::buffer& source, char delimiter, int quote, char escape, char written_quote,
                   std::unordered_set<std::string> kept, bool at_end) {
  const py::buffer_info info = source.request();
  const std::string_view data(static_cast<const char*>(info.ptr), static_cast<size_t>(info.size * info.itemsize));
  std::string out;
  bool dangling = false;
  size_t taken = 0;
  {
    py::gil_scoped_release release;
    const EscapedDialect dialect{static_cast<uint8_t>(delimiter), quote, static_cast<uint8_t>(escape),
                                 static_cast<uint8_t>(written_quote), std::move(kept)};
    taken = rewrite_escapes(data, dialect, at_end, out, dangling);
  }
  return py::make_tuple(taken, py::bytes(out), dangling);
}

std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t> shape(const py::buffer& source) {
  const py::buffer_info info = source.request();
  py::gil_scoped_release release;
  const JsonShape found = json_shape(static_cast<const uint8_t*>(info.ptr), static_cast<size_t>(info.size * info.itemsize));
  return {found.depth, found.stray, found.objects, found.keys, found.open};
}

// What is done to a column: nothing, its numbers looked for, or those of a column of floats.
enum class Look : int { kNone = 0, kNumbers = 1, kFloats = 2 };

struct FoundColumn {
  CellNumbers numbers;
  int64_t values = -1, validity = -1;  // where they begin in the memory of all columns
};

TextColumn text_column(const ArrowArray& array, const ArrowArray& parent) {
  static const int32_t kNoOffsets[1] = {0};
  if (array.n_buffers != 3) throw py::value_error("not a string array");
  const auto* offsets = static_cast<const int32_t*>(array.buffers[1]);
  const int64_t offset = array.offset + parent.offset;
  return {offsets ? offsets + offset : kNoOffsets, static_cast<const char*>(array.buffers[2]),
          static_cast<const uint8_t*>(array.buffers[0]), offset, parent.length};
}

py::object firsts_of(const CellNumbers& found) {
  const int64_t rows[] = {found.first_text,     found.first_padded,  found.first_big,
                          found.first_overflow, found.first_inexact, found.first_not_int};
  if (std::all_of(std::begin(rows), std::end(rows), [](int64_t row) { return row < 0; })) return py::none();
  return py::make_tuple(rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]);
}

// Memory that is handed over to numpy: not cleared, so that what no column needed is never touched.
py::array_t<uint8_t> handed_over(uint8_t* memory, size_t size) {
  py::capsule owner(memory, [](void* pointer) { std::free(pointer); });
  return py::array_t<uint8_t>(static_cast<py::ssize_t>(size), memory, owner);
}

py::tuple numbers(const py::capsule& capsule, const std::vector<int>& looks, std::unordered_set<std::string> marker_texts) {
  const auto* batch = static_cast<const ArrowArray*>(PyCapsule_GetPointer(capsule.ptr(), "arrow_array"));
  if (!batch) throw py::error_already_set();
  if (batch->n_children != static_cast<int64_t>(looks.size())) throw py::value_error("one look for each column");
  std::vector<TextColumn> columns;
  int64_t looked_at = 0;
  for (size_t index = 0; index < looks.size(); ++index) {
    columns.push_back(text_column(*batch->children[index], *batch));
    looked_at += looks[index] != static_cast<int>(Look::kNone);
  }
  const size_t column_bytes = static_cast<size_t>(batch->length) * 8;
  auto* memory = static_cast<uint8_t*>(std::malloc(std::max<size_t>(column_bytes * looked_at, 1)));
  if (!memory) throw std::bad_alloc();
  py::array_t<uint8_t> values = handed_over(memory, column_bytes * looked_at);
  std::vector<FoundColumn> found(looks.size());
  std::vector<uint8_t> validity;
  {
    py::gil_scoped_release release;
    const Markers markers(std::move(marker_texts));
    int64_t used = 0;
    for (size_t index = 0; index < looks.size(); ++index) {
      if (looks[index] == static_cast<int>(Look::kNone)) continue;
      FoundColumn& column = found[index];
      column.numbers = read_numbers(columns[index], markers, looks[index] == static_cast<int>(Look::kFloats), memory + used);
      if (column.numbers.kind != CellKind::kInt && column.numbers.kind != CellKind::kFloat) continue;
      column.values = used;
      used += static_cast<int64_t>(column_bytes);
      if (column.numbers.validity.empty()) continue;
      column.validity = static_cast<int64_t>(validity.size());
      validity.insert(validity.end(), column.numbers.validity.begin(), column.numbers.validity.end());
      validity.resize((validity.size() + 7) / 8 * 8);
    }
  }
  py::list out;
  for (size_t index = 0; index < looks.size(); ++index) {
    const CellNumbers& one = found[index].numbers;
    if (looks[index] == static_cast<int>(Look::kNone)) out.append(py::none());
    else
      out.append(py::make_tuple(static_cast<int>(one.kind), found[index].values, found[index].validity, one.nulls, one.numbers,
                                one.texts, one.padded, one.as_written, firsts_of(one)));
  }
  return py::make_tuple(values, py::bytes(reinterpret_cast<const char*>(validity.data()), validity.size()), out);
}

}  // namespace

void register_csv(py::module_& module) {
  module.def("csv_cut", &cut, py::arg("data"), py::arg("delimiter"), py::arg("quote"), py::arg("first_only"), py::arg("at_end"));
  module.def("csv_unescape", &unescape, py::arg("data"), py::arg("delimiter"), py::arg("quote"), py::arg("escape"),
             py::arg("written_quote"), py::arg("kept"), py::arg("at_end"));
  module.def("csv_numbers", &numbers, py::arg("batch"), py::arg("looks"), py::arg("markers"));
  module.def("json_shape", &shape, py::arg("data"));
}
