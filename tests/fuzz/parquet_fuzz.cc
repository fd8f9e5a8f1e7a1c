// Feeds the reader of Parquet footers with footers that it must read back exactly, and with the same after changes of their bytes.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "parquet/footer.h"

using namespace fullpass;

namespace {

std::mt19937_64 rng;

uint64_t below(uint64_t limit) { return limit ? rng() % limit : 0; }

// Writes Thrift's compact protocol: just what a footer needs.
struct Out {
  std::string bytes;
  std::vector<int> last{0};

  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
    bytes += static_cast<char>(value);
  }
  void zigzag(int64_t value) { varint((static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63)); }
  void field(int number, int type) {
    const int step = number - last.back();
    bytes += static_cast<char>((step << 4) | type);
    last.back() = number;
  }
  void integer(int number, int64_t value) { field(number, 6), zigzag(value); }
  void small(int number, int64_t value) { field(number, 5), zigzag(value); }
  void text(const std::string& value) { varint(value.size()), bytes += value; }
  void list(int number, int type, size_t size) {
    field(number, 9);
    bytes += static_cast<char>((size < 15 ? size : 15) << 4 | type);
    if (size >= 15) varint(size);
  }
  void begin() { last.push_back(0); }
  void end() { bytes += '\0', last.pop_back(); }
};

void write_chunk(Out& out, ParquetFooter& footer, size_t leaf, int64_t rows) {
  const auto number = [&](std::vector<int64_t>& to) { return to.emplace_back(static_cast<int64_t>(below(1u << 20))); };
  out.begin();
  out.integer(2, 4);
  out.field(3, 12);
  out.begin();
  out.small(1, footer.leaves[leaf].type);
  out.list(2, 5, 2), out.zigzag(0), out.zigzag(3);
  out.list(3, 8, 1), out.text(footer.leaves[leaf].path);
  out.small(4, 0);
  out.integer(5, rows);
  out.integer(6, number(footer.uncompressed));
  out.integer(7, number(footer.compressed));
  out.integer(9, number(footer.data_page));
  out.integer(11, number(footer.dictionary_page));
  if (below(2)) {
    out.field(12, 12);
    out.begin();
    out.field(1, 8), out.text("max");
    out.integer(3, footer.nulls.emplace_back(below(9)));
    out.field(7, 1);
    out.end();
  } else {
    footer.nulls.push_back(-1);
  }
  out.end();
  out.end();
}

std::string write(ParquetFooter& footer) {
  Out out;
  const size_t columns = 1 + below(20), groups = below(4);
  out.small(1, 2);
  out.list(2, 12, columns + 1);
  out.begin(), out.field(4, 8), out.text("schema"), out.small(5, columns), out.end();
  for (size_t i = 0; i < columns; ++i) {
    footer.leaves.push_back({std::string(below(4), 'x') + std::to_string(i), static_cast<int32_t>(below(8)), false});
    out.begin();
    out.small(1, footer.leaves[i].type), out.small(3, below(2)), out.field(4, 8), out.text(footer.leaves[i].path);
    out.end();
  }
  std::vector<int64_t> rows;
  for (size_t i = 0; i < groups; ++i) footer.rows += rows.emplace_back(below(1000));
  out.integer(3, footer.rows);
  out.list(4, 12, groups);
  for (const int64_t of_group : rows) {
    footer.group_rows.push_back(of_group);
    out.begin();
    out.list(1, 12, columns);
    for (size_t i = 0; i < columns; ++i) write_chunk(out, footer, i, of_group);
    out.integer(2, footer.group_bytes.emplace_back(below(1u << 30)));
    out.integer(3, of_group);
    out.end();
  }
  out.field(6, 8), out.text("a writer");
  out.bytes += '\0';
  return out.bytes;
}

// An exact heap allocation: one byte read past the end is a finding.
ParquetFooter read(const std::string& bytes) {
  std::unique_ptr<uint8_t[]> copy(new uint8_t[bytes.empty() ? 1 : bytes.size()]);
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return read_footer(copy.get(), bytes.size());
}

bool same(const ParquetFooter& a, const ParquetFooter& b) {
  if (a.leaves.size() != b.leaves.size()) return false;
  for (size_t i = 0; i < a.leaves.size(); ++i)
    if (a.leaves[i].path != b.leaves[i].path || a.leaves[i].type != b.leaves[i].type) return false;
  return a.rows == b.rows && a.group_rows == b.group_rows && a.group_bytes == b.group_bytes && a.compressed == b.compressed &&
         a.uncompressed == b.uncompressed && a.nulls == b.nulls && a.data_page == b.data_page &&
         a.dictionary_page == b.dictionary_page;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t runs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 10000;
  rng.seed(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  uint64_t read_back = 0, refused = 0, taken = 0;
  for (uint64_t run = 0; run < runs; run += 20) {
    ParquetFooter footer;
    std::string bytes = write(footer);
    if (!same(read(bytes), footer)) std::abort();
    ++read_back;
    for (int change = 0; change < 20; ++change) {
      std::string changed = bytes;
      for (uint64_t i = 1 + below(4); i > 0; --i) changed[below(changed.size())] = static_cast<char>(below(4) ? rng() : 0xff);
      if (!below(8)) changed.resize(below(changed.size()));
      try {
        read(changed);
        ++taken;
      } catch (const FooterFault& fault) {
        if (fault.offset > changed.size()) std::abort();
        ++refused;
      }
    }
  }
  std::printf("%" PRIu64 " footers read back, %" PRIu64 " changed ones refused, %" PRIu64 " taken, no finding\n", read_back, refused, taken);
}
