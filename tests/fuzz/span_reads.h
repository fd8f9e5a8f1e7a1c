// Reads a file as a whole and in two spans, which must give the same records.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "decoder/columns.h"

namespace fullpass {

// Aborts where a read without damage has not the `records` that a scan found whole, or where two spans that meet at `cut` have
// not as many as one. Returns the records that spans gave.
uint64_t span_reads(const std::vector<FieldSpec>& specs, const std::string& file, uint64_t records, uint64_t cut, int64_t batch_rows);

}  // namespace fullpass
