#include "rows/gather.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace fullpass {
namespace {

constexpr size_t kPieceBytes = 256 << 10;  // copied by one thread at a time: some 30 us, against 10 us to start a thread
constexpr size_t kAhead = 8;               // rows asked for before they are needed: they lie anywhere in a window

struct Piece {
  const GatherJob* job;
  size_t begin, end;
};

bool copy(const Piece& piece) {
  const GatherJob& job = *piece.job;
  const size_t size = job.row_bytes;
  uint8_t* to = job.to + piece.begin * size;
  for (size_t i = piece.begin; i < piece.end; ++i, to += size) {
    const auto row = static_cast<uint64_t>(job.rows[i]);
    if (row >= job.from_rows) return false;
    if (i + kAhead < piece.end) {
      const auto later = static_cast<uint64_t>(job.rows[i + kAhead]);
      if (later < job.from_rows) {
        const uint8_t* at = job.from + later * size;
        for (size_t line = 0; line < std::min<size_t>(size, 256); line += 64) __builtin_prefetch(at + line);
      }
    }
    std::memcpy(to, job.from + row * size, size);
  }
  return true;
}

}  // namespace

void gather(const std::vector<GatherJob>& jobs, int threads) {
  std::vector<Piece> pieces;
  for (const GatherJob& job : jobs) {
    const size_t rows = std::max<size_t>(1, kPieceBytes / std::max<size_t>(1, job.row_bytes));
    for (size_t begin = 0; begin < job.count; begin += rows)
      pieces.push_back({&job, begin, std::min(job.count, begin + rows)});
  }
  std::atomic<size_t> next{0};
  std::atomic<bool> fits{true};
  const auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < pieces.size();)
      if (!copy(pieces[i])) fits = false;
  };
  std::vector<std::thread> helpers;
  const size_t wanted = std::min<size_t>(std::max(1, threads), pieces.size());
  try {
    for (size_t i = 1; i < wanted; ++i) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // No more threads are to be had here: those that there are do it all.
  }
  work();
  for (auto& helper : helpers) helper.join();
  if (!fits) throw std::out_of_range("a row is not within its window");
}

}  // namespace fullpass
