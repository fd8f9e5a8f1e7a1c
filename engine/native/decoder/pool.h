// Memory of column buffers, kept for the next batch: the system would clear every page of it anew.
#pragma once
#include <cstddef>

namespace fullpass {

// At least this many bytes are taken from the pool and given back to it; less is malloc's.
constexpr size_t kLeastPooledBytes = 16 << 10;

// Rounds up to a size that the pool has: a power of two, or one of three steps between two of them.
size_t pooled_size(size_t bytes);
// Returns memory of a size that pooled_size() gave, aligned to 64 bytes, or null. It may also be given to free().
void* pool_take(size_t size);
void pool_give(void* memory, size_t size);

}  // namespace fullpass
