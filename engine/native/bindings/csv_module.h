#pragma once

#include <pybind11/pybind11.h>

// Adds the cutting and the numbers of CSV to the extension module.
void register_csv(pybind11::module_& module);
