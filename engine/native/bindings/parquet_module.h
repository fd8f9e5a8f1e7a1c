#pragma once

#include <pybind11/pybind11.h>

// Adds the reading of Parquet footers to the extension module.
void register_parquet(pybind11::module_& module);
