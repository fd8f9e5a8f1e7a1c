// The Python face of Parquet: a footer's bytes in, numbers of its row groups and columns out.
#include "bindings/parquet_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "parquet/footer.h"

namespace py = pybind11;
using namespace fullpass;

namespace {

// (rows, paths of the columns, numbers of the row groups, numbers of the chunks), or what is wrong: (message, offset).
py::tuple footer(const py::buffer& source) {
  const py::buffer_info info = source.request();
  ParquetFooter found;
  try {
    py::gil_scoped_release release;
    found = read_footer(static_cast<const uint8_t*>(info.ptr), static_cast<size_t>(info.size * info.itemsize));
  } catch (const FooterFault& fault) {
    // What is wrong may quote the damaged bytes.
    const std::string what = fault.what();
    return py::make_tuple(py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(what.data(), what.size(), "backslashreplace")),
                          fault.offset);
  }
  py::list paths;
  for (const ParquetLeaf& leaf : found.leaves)
    paths.append(py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(leaf.path.data(), leaf.path.size(), "backslashreplace")));
  py::dict numbers;
  const auto add = [&](const char* name, const std::vector<int64_t>& of) {
    numbers[name] = py::array_t<int64_t>(static_cast<py::ssize_t>(of.size()), of.data());
  };
  add("group_rows", found.group_rows);
  add("group_bytes", found.group_bytes);
  add("compressed", found.compressed);
  add("uncompressed", found.uncompressed);
  add("nulls", found.nulls);
  add("values", found.values);
  add("text_bytes", found.text_bytes);
  add("data_page", found.data_page);
  add("dictionary_page", found.dictionary_page);
  return py::make_tuple(found.rows, paths, numbers);
}

}  // namespace

void register_parquet(py::module_& module) { module.def("parquet_footer", &footer, py::arg("data")); }
