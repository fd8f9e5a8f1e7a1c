// The footer of a Parquet file, as far as reading and planning ask for it, and whether it agrees with itself.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace fullpass {

// The footer contradicts itself, or is no footer. `offset`: in the footer's bytes.
struct FooterFault : std::runtime_error {
  FooterFault(const std::string& what, size_t offset) : std::runtime_error(what), offset(offset) {}
  size_t offset;
};

// A column of values: `path` joined by dots, `type` its physical type, `repeated` whether a row may have other than one value.
struct ParquetLeaf {
  std::string path;
  int32_t type = -1;
  bool repeated = false;
};

// One number a row group, or one a column chunk: those of row group 0 first, by column.
struct ParquetFooter {
  int64_t rows = 0;
  std::vector<ParquetLeaf> leaves;
  std::vector<int64_t> group_rows, group_bytes;
  std::vector<int64_t> compressed, uncompressed;
  std::vector<int64_t> nulls;                  // -1: not said
  std::vector<int64_t> values;                 // missing ones, too
  std::vector<int64_t> text_bytes;             // of texts once decoded, without their lengths; -1: not said
  std::vector<int64_t> data_page, dictionary_page;  // offsets in the file; dictionary: 0 where there is none
};

// Reads the footer: Thrift's compact protocol, without its length and magic.
ParquetFooter read_footer(const uint8_t* data, size_t size);

}  // namespace fullpass
