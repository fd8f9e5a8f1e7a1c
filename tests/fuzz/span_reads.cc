#include "span_reads.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "framing/span_reader.h"

namespace fullpass {
namespace {

uint64_t rows_of(const FileSpan& span, int64_t batch_rows) {
  uint64_t rows = 0;
  for (const OwnedArray& batch : span.batches) {
    if (!batch->length || batch->length > batch_rows) std::abort();
    rows += static_cast<uint64_t>(batch->length);
  }
  return rows;
}

}  // namespace

uint64_t span_reads(const std::vector<FieldSpec>& specs, const std::string& file, uint64_t records, uint64_t cut,
                    int64_t batch_rows) {
  static const int descriptor = ::memfd_create("spans", 0);
  if (::ftruncate(descriptor, 0) || ::pwrite(descriptor, file.data(), file.size(), 0) != static_cast<ssize_t>(file.size()))
    std::abort();
  SpanReader reader(specs, false);
  const FileSpan whole = reader.read(descriptor, 0, file.size(), true, batch_rows);
  const FileSpan first = reader.read(descriptor, 0, cut, true, batch_rows);
  const FileSpan second = reader.read(descriptor, cut, file.size(), cut == 0, batch_rows);
  if (!whole.whole) return 0;
  const uint64_t rows = rows_of(whole, batch_rows);
  if (rows != records || !first.whole) std::abort();
  const bool none_left = second.begin < 0 && first.end == whole.end;
  if (second.whole && (none_left || second.begin == first.end) && rows_of(first, batch_rows) + rows_of(second, batch_rows) != rows)
    std::abort();
  return rows;
}

}  // namespace fullpass
