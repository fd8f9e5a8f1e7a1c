// What the Python faces of the codec share.
#pragma once
#include <pybind11/pybind11.h>

#include <vector>

#include "decoder/columns.h"

namespace fullpass {

struct Schema {
  std::vector<FieldSpec> fields;
};

// Hands an array over to Python: Arrow's importer takes it out of the capsule, else the capsule frees it.
inline pybind11::capsule array_capsule(ArrowArray* array) {
  return pybind11::capsule(array, "arrow_array", [](PyObject* capsule) {
    auto* held = static_cast<ArrowArray*>(PyCapsule_GetPointer(capsule, "arrow_array"));
    if (held->release) held->release(held);
    delete held;
  });
}

}  // namespace fullpass

// Adds the reader of spans to the extension module.
void register_spans(pybind11::module_& module);
// Adds the check of requests.
void register_serving(pybind11::module_& module);
