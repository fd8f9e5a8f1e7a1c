// Rows of windows to the rows of a batch, by several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fullpass {

// `count` rows of `row_bytes` bytes each: row rows[i] of `from`, which has `from_rows`, goes to row i of `to`.
struct GatherJob {
  const uint8_t* from;
  size_t from_rows;
  const int64_t* rows;
  size_t count;
  size_t row_bytes;
  uint8_t* to;
};

// Does all jobs on up to `threads` threads, the calling one among them; where a row lands does not depend on their number.
// Throws std::out_of_range for a row that `from` does not have.
void gather(const std::vector<GatherJob>& jobs, int threads);

}  // namespace fullpass
