// How deeply JSON is nested.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fullpass {

// Returns how many objects and lists are open at once at most, outside of texts. The bytes need not be JSON: of others the count
// says nothing.
int64_t json_depth(const uint8_t* data, size_t size);

}  // namespace fullpass
