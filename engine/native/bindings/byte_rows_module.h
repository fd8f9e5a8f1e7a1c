#pragma once

#include <pybind11/pybind11.h>

// Adds rows of strings to the extension module.
void register_byte_rows(pybind11::module_& module);
