#include "framing/framing.h"

#include <cstring>

#include "framing/crc32c.h"

namespace fullpass {
namespace {

uint32_t load32(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return value;
}

}  // namespace

bool header_holds(const uint8_t* p, uint64_t* size) {
  std::memcpy(size, p, 8);
  return load32(p + 8) == masked_crc32c(p, 8);
}

ScanResult scan_records(const uint8_t* data, size_t begin, size_t end, size_t limit, size_t max_records, uint64_t max_bytes,
                        std::vector<Record>& out) {
  size_t at = begin;
  uint64_t bytes = 0;
  for (size_t count = 0; count < max_records && at < limit; ++count) {
    if (end - at < kHeaderBytes) return {ScanStatus::kNeedMore, at - begin, 0};
    uint64_t size;
    if (!header_holds(data + at, &size)) return {ScanStatus::kBadLength, at - begin, 0};
    if (size > kMaxRecordBytes) return {ScanStatus::kTooLong, at - begin, size};
    if (end - at < kHeaderBytes + size + kFooterBytes)
      return {ScanStatus::kNeedMore, at - begin, kHeaderBytes + size + kFooterBytes};
    if (count && bytes + size > max_bytes) break;
    bytes += size;
    out.push_back({at + kHeaderBytes, static_cast<uint32_t>(size)});
    at += kHeaderBytes + size + kFooterBytes;
    // Records are mostly of like size: fetch where the header after the next one should be, or each costs a cache miss.
    if (end - at > size + 128) {
      __builtin_prefetch(data + at + size - 32);
      __builtin_prefetch(data + at + size + 32);
    }
  }
  return {ScanStatus::kOk, at - begin, 0};
}

int64_t find_record(const uint8_t* data, size_t begin, size_t end, size_t limit, bool at_end_of_file, size_t* position) {
  for (size_t at = begin; at < limit && at + kHeaderBytes <= end; ++at) {
    uint64_t size;
    if (!header_holds(data + at, &size) || size > kMaxRecordBytes) continue;
    const uint64_t next = at + kHeaderBytes + size + kFooterBytes;
    *position = at;
    if (next + kHeaderBytes > end) {
      if (!at_end_of_file) return -2;
      if (next > end) continue;  // the record would run past the end of the file
      if (masked_crc32c(data + at + kHeaderBytes, size) == load32(data + next - kFooterBytes)) return 0;
      continue;
    }
    uint64_t next_size;
    if (header_holds(data + next, &next_size)) return 0;
    // The record after this one may be damaged while this one is whole: its payload checksum decides.
    if (masked_crc32c(data + at + kHeaderBytes, size) == load32(data + next - kFooterBytes)) return 0;
  }
  return -1;
}

}  // namespace fullpass
