// CRC-32C (Castagnoli), as TFRecord masks it. The implementation is chosen once, at the first call, by what the CPU has.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fullpass {

uint32_t crc32c(const uint8_t* data, size_t size);
uint32_t crc32c_portable(const uint8_t* data, size_t size);
const char* crc32c_implementation();

// TFRecord stores checksums rotated and offset, so that the checksum of data that holds checksums stays meaningful.
inline uint32_t mask_crc(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }
inline uint32_t masked_crc32c(const uint8_t* data, size_t size) { return mask_crc(crc32c(data, size)); }

}  // namespace fullpass
