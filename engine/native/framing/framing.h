// TFRecord framing: uint64 length, masked CRC of the length, payload, masked CRC of the payload; little endian.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fullpass {

constexpr size_t kHeaderBytes = 12;
constexpr size_t kFooterBytes = 4;
constexpr uint64_t kMaxRecordBytes = (1ull << 31) - 1;  // protobuf's own limit for one message

struct Record {
  uint64_t offset;  // of the payload, within the buffer
  uint32_t size;
};

enum class ScanStatus { kOk, kNeedMore, kBadLength, kTooLong };

struct ScanResult {
  ScanStatus status;
  size_t consumed;       // bytes of whole records from the start of the scan
  uint64_t needed;       // kNeedMore: bytes from `consumed` on that the next record takes, if known, else 0
};

// Appends the records from `begin` on whose header begins before `limit` and that lie whole in the buffer; header checksums are
// verified, payloads not.
ScanResult scan_records(const uint8_t* data, size_t begin, size_t end, size_t limit, size_t max_records, uint64_t max_bytes,
                        std::vector<Record>& out);

// Whether a header whose checksum holds begins at p (12 bytes readable); its length goes to *size.
bool header_holds(const uint8_t* p, uint64_t* size);

// Returns the first position at or after `begin`, and before `limit`, where a record begins: a header whose checksum holds and
// which is followed by another such header, or whose payload checksum holds. Returns 0 and the position, -1 where there is none,
// -2 where more bytes than the buffer has must be seen to tell (*position is then the candidate).
int64_t find_record(const uint8_t* data, size_t begin, size_t end, size_t limit, bool at_end_of_file, size_t* position);

}  // namespace fullpass
