// Encodes decoded columns and decodes what comes out.
#pragma once
#include <cstdint>
#include <vector>

#include "decoder/columns.h"

namespace fullpass {

// Encodes the rows of `batch`, whose columns are those that `specs` selects, from row `skip` on, in pieces that `seed` draws.
// Aborts where the rows that come back differ. Returns the rows.
uint64_t round_trip(const std::vector<FieldSpec>& specs, const ArrowArray* batch, int64_t skip, uint64_t seed);

}  // namespace fullpass
