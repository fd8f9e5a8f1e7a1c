#include "framing/span_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace fullpass {
namespace {

constexpr size_t kChunkBytes = 768 << 10;     // stays in the processor's cache from reading to decoding
constexpr size_t kPastStopBytes = 64 << 10;   // the last record of a span ends past it
constexpr uint64_t kMostBytes = 1ull << 30;   // of a batch: Arrow's offsets are 32 bits
constexpr size_t kReadableBytes = 256;        // past what is filled: the decoder looks ahead without asking

}  // namespace

// The place in the buffer of the file's byte `stop`, or the end of the buffer where that comes first.
size_t SpanReader::until(uint64_t stop) const {
  const uint64_t ahead = stop > offset_ ? stop - offset_ : 0;
  return ahead > available() ? end_ : begin_ + static_cast<size_t>(ahead);
}

void SpanReader::use(size_t bytes) {
  begin_ += bytes;
  offset_ += bytes;
}

// Makes `wanted` bytes available, or all that the file still has.
void SpanReader::fill(size_t wanted) {
  if (available() >= wanted || at_end_) return;
  if (begin_ + wanted + kReadableBytes > buffer_.size()) {
    if (begin_) std::memmove(buffer_.data(), buffer_.data() + begin_, available());
    end_ -= begin_;
    begin_ = 0;
    if (wanted + kReadableBytes > buffer_.size()) buffer_.resize(wanted + wanted / 8 + kReadableBytes);
  }
  while (available() < wanted) {
    const ssize_t count =
        ::pread(file_, buffer_.data() + end_, wanted - available(), static_cast<off_t>(offset_ + available()));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw std::system_error(errno, std::generic_category());
    if (count == 0) {
      at_end_ = true;
      return;
    }
    end_ += static_cast<size_t>(count);
  }
}

// Moves on to the next record that begins before `stop`; false where there is none.
bool SpanReader::synchronise(uint64_t stop) {
  fill(kPastStopBytes);
  while (true) {
    const size_t limit = until(stop);
    size_t position = begin_;
    const int64_t found = find_record(buffer_.data(), begin_, end_, limit, at_end_, &position);
    if (found == -1) {
      const size_t reached = limit - begin_;
      if (at_end_ || offset_ + reached >= stop) return false;
      use(reached < kHeaderBytes ? 0 : reached - (kHeaderBytes - 1));
    } else {
      use(position - begin_);
      if (found == 0) return true;
    }
    fill(std::max<size_t>(2 * available(), 1 << 20));
  }
}

FileSpan SpanReader::read(int file, uint64_t start, uint64_t stop, bool exact, int64_t batch_rows) {
  if (decoder_.rows()) OwnedArray(decoder_.finish(true));  // what an exception left there
  decoder_.forget_faults();
  FileSpan span;
  file_ = file;
  begin_ = end_ = 0;
  offset_ = start;
  at_end_ = false;
  try {
    span.whole = read_whole(stop, exact, batch_rows, &span);
  } catch (const std::system_error&) {  // the file cannot be read: as any damage, the caller's to find
  }
  if (decoder_.rows()) {
    OwnedArray last(decoder_.finish(true));
    if (span.whole) span.batches.push_back(std::move(last));
  }
  if (!span.whole) span.batches.clear();
  return span;
}

bool SpanReader::read_whole(uint64_t stop, bool exact, int64_t batch_rows, FileSpan* span) {
  if (!exact && !synchronise(stop)) return true;
  span->begin = static_cast<int64_t>(offset_);
  if (!decode(stop, batch_rows, span) || !successor_holds()) return false;
  span->end = static_cast<int64_t>(offset_);
  return true;
}

// Decodes what begins before `stop`; false at anything that is not as it should be.
bool SpanReader::decode(uint64_t stop, int64_t batch_rows, FileSpan* span) {
  uint64_t pending_bytes = 0;
  while (offset_ < stop) {
    records_.clear();
    const auto room = static_cast<size_t>(batch_rows - decoder_.rows());
    const ScanResult scanned = scan_records(buffer_.data(), begin_, end_, until(stop), room, kMostBytes, records_);
    if (records_.empty()) {
      const bool more = begin_ == end_ || scanned.status == ScanStatus::kNeedMore;
      if (!more || at_end_) return false;
      const uint64_t chunk = std::min<uint64_t>(kChunkBytes, stop - offset_ + kPastStopBytes);
      fill(static_cast<size_t>(std::max(chunk, scanned.needed)));
      if (begin_ == end_ && at_end_) break;  // the file ends before `stop`
      continue;
    }
    pending_bytes += scanned.consumed;
    if (pending_bytes > kMostBytes) return false;
    decoder_.decode(buffer_.data(), buffer_.size(), records_.data(), 0, static_cast<int64_t>(records_.size()));
    if (!decoder_.faults().empty()) return false;
    use(scanned.consumed);
    if (decoder_.rows() == batch_rows) {
      span->batches.emplace_back(decoder_.finish(true));
      pending_bytes = 0;
    }
  }
  return true;
}

// The next span begins by looking for a header; were it damaged, nobody would miss its record: so look here.
bool SpanReader::successor_holds() {
  fill(kHeaderBytes);
  uint64_t size;
  return !available() || (available() >= kHeaderBytes && header_holds(buffer_.data() + begin_, &size));
}

}  // namespace fullpass
