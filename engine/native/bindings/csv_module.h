#pragma once

#include <pybind11/pybind11.h>

// Adds the cutting and the numbers of CSV, and the depth of JSON, to the extension module.
void register_csv(pybind11::module_& module);
