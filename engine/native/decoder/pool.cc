#include "decoder/pool.h"

#include <array>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace fullpass {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kMostBytes = 0;  // a sanitizer sees wrong uses only of memory that is really freed
#else
constexpr size_t kMostBytes = 64 << 20;  // unused, of all sizes together
#endif
constexpr int kLeastBit = 14;  // of kLeastPooledBytes
constexpr int kMostBit = 24;   // larger ones are rare, and too much to keep
constexpr int kSteps = 4;      // between two powers of two

struct Pool {
  std::mutex mutex;
  size_t bytes = 0;
  std::array<std::vector<void*>, (kMostBit - kLeastBit) * kSteps> free;
};

Pool& pool() {
  static Pool* const leaked = new Pool;  // arrays are released up to the very end of the process
  return *leaked;
}

int highest_bit(size_t bytes) { return 63 - __builtin_clzll(bytes); }

// The list that holds memory of this size, or -1.
int list_of_size(size_t size) {
  const int bit = highest_bit(size);
  if (bit < kLeastBit || bit >= kMostBit) return -1;
  return (bit - kLeastBit) * kSteps + static_cast<int>((size >> (bit - 2)) & 3);
}

}  // namespace

size_t pooled_size(size_t bytes) {
  if (bytes <= kLeastPooledBytes) return kLeastPooledBytes;
  const size_t step = size_t{1} << (highest_bit(bytes - 1) - 2);
  return (bytes + step - 1) / step * step;
}

// Nobody waits here: who cannot have the lock at once goes to malloc. So a process forked while it was held goes on too.
void* pool_take(size_t size) {
  const int list = list_of_size(size);
  if (list >= 0) {
    const std::unique_lock<std::mutex> lock(pool().mutex, std::try_to_lock);
    auto& free = pool().free[static_cast<size_t>(list)];
    if (lock && !free.empty()) {
      void* memory = free.back();
      free.pop_back();
      pool().bytes -= size;
      return memory;
    }
  }
  return std::aligned_alloc(64, size);
}

void pool_give(void* memory, size_t size) {
  const int list = list_of_size(size);
  if (list >= 0 && memory) {
    const std::unique_lock<std::mutex> lock(pool().mutex, std::try_to_lock);
    if (lock && pool().bytes + size <= kMostBytes) {
      try {
        pool().free[static_cast<size_t>(list)].push_back(memory);
        pool().bytes += size;
        return;
      } catch (const std::bad_alloc&) {
      }
    }
  }
  std::free(memory);
}

}  // namespace fullpass
