#pragma once

#include <pybind11/pybind11.h>

// Adds the feed's functions to the extension module.
void register_feed(pybind11::module_& module);
