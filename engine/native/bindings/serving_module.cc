// The Python face of the check of requests.
#include <vector>
#include <pybind11/stl.h>


#include "bindings/bindings.h"
#include "serving/plain_example.h"

namespace py = pybind11;

namespace {

// Positions of the elements that are no plain tf.Example.
std::vector<size_t> unplain_examples(const std::vector<py::bytes>& examples) {
  struct View {
    const uint8_t* data;
    size_t size;
  };
  std::vector<View> views;
  views.reserve(examples.size());
  for (const py::bytes& example : examples) {
    char* data;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(example.ptr(), &data, &size) != 0) throw py::error_already_set();
    views.push_back({reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(size)});
  }
  std::vector<size_t> found;
  py::gil_scoped_release release;  // bytes cannot change, and `examples` holds them
  for (size_t i = 0; i < views.size(); ++i) {
    if (!fullpass::is_plain_example(views[i].data, views[i].size)) found.push_back(i);
  }
  return found;
}

}  // namespace

void register_serving(py::module_& m) { m.def("unplain_examples", &unplain_examples, py::arg("examples")); }
