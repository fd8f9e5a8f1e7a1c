// Feeds the CSV code with texts of the bytes that mean something to it: cuts must agree with each other, numbers with the C library.
#include <cerrno>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

#include "text/csv_text.h"

using namespace fullpass;

namespace {

std::mt19937_64 rng;

uint64_t below(uint64_t limit) { return limit ? rng() % limit : 0; }

const char* const kTokens[] = {",",  ";",  "\t",   "\n",  "\r",   "\r\n", "\"",    "\"\"",   "'",     " ",   "\\",   "\xef\xbb\xbf", "\xff",
                               "é",  "NA", "null", "0",   "007",  "-",    "+",     "1",      "9",     "12",  "1.5",  ".",            "e5",
                               "1e", "inf", "nan", "0x1", "1e999", "1e-999", "9223372036854775807", "-9223372036854775808",
                               "18446744073709551615", "9007199254740993", "3.4028236e38", "infinity", "1_000"};

std::string text(uint64_t tokens) {
  std::string out;
  for (uint64_t i = 0; i < tokens; ++i) out += kTokens[below(sizeof(kTokens) / sizeof(*kTokens))];
  if (below(8) == 0 && !out.empty()) out[below(out.size())] = static_cast<char>(below(256));
  return out;
}

// An exact heap allocation: one byte read past the end is a finding.
std::unique_ptr<uint8_t[]> exact(const std::string& bytes) {
  std::unique_ptr<uint8_t[]> copy(new uint8_t[bytes.empty() ? 1 : bytes.size()]);
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return copy;
}

// One cut of all whole records must end where cuts of one record each end.
uint64_t cuts(const std::string& bytes) {
  const uint8_t delimiter = ",;\t"[below(3)];
  const int quote = below(4) == 0 ? -1 : "\"'"[below(2)];
  const auto data = exact(bytes);
  const CsvCut whole = cut_records(data.get(), bytes.size(), delimiter, quote, false, false);
  if (whole.stop > bytes.size() || whole.open_quote >= static_cast<int64_t>(bytes.size()) ||
      whole.stray_text >= static_cast<int64_t>(bytes.size()))
    std::abort();
  size_t at = 0;
  uint64_t records = 0;
  while (at < whole.stop) {
    const CsvCut one = cut_records(data.get() + at, bytes.size() - at, delimiter, quote, true, false);
    if (!one.stop) std::abort();
    at += one.stop;
    ++records;
  }
  if (at != whole.stop) std::abort();
  cut_records(data.get(), bytes.size(), delimiter, quote, below(2), true);
  return records;
}

bool same(double ours, double theirs) { return ours == theirs || (std::isnan(ours) && std::isnan(theirs)); }

template <typename T>
T stored(const uint8_t* values, size_t row) {
  T value;
  std::memcpy(&value, values + 8 * row, sizeof value);
  return value;
}

// What is taken for a number must be the number that the C library reads, from the first byte to the last.
uint64_t numbers(const std::vector<std::string>& cells, const std::unordered_set<std::string>& markers) {
  std::string joined;
  std::vector<int32_t> offsets{0};
  std::vector<uint8_t> valid(cells.size() / 8 + 1, 0);
  for (size_t row = 0; row < cells.size(); ++row) {
    joined += cells[row];
    offsets.push_back(static_cast<int32_t>(joined.size()));
    if (!cells[row].empty()) valid[row / 8] |= static_cast<uint8_t>(1u << (row % 8));
  }
  const auto data = exact(joined);
  const auto rows = static_cast<int64_t>(cells.size());
  const bool as_float = below(3) == 0;
  const std::unique_ptr<uint8_t[]> values(new uint8_t[8 * cells.size()]);
  const CellNumbers found = read_numbers({offsets.data(), reinterpret_cast<const char*>(data.get()), valid.data(), 0, rows},
                                         Markers(markers), as_float, values.get());
  if (found.kind != CellKind::kInt && found.kind != CellKind::kFloat) return 0;
  uint64_t checked = 0;
  for (size_t row = 0; row < cells.size(); ++row) {
    const bool present = found.validity.empty() || (found.validity[row / 8] >> (row % 8) & 1);
    const std::string& cell = cells[row];
    if (!present) {
      if (!cell.empty() && !markers.count(cell)) std::abort();
      continue;
    }
    char* end = nullptr;
    errno = 0;
    if (found.kind == CellKind::kInt) {
      const long long value = std::strtoll(cell.c_str(), &end, 10);
      if (errno || stored<int64_t>(values.get(), row) != value) std::abort();
    } else if (!same(stored<double>(values.get(), row), std::strtod(cell.c_str(), &end))) {
      std::abort();
    }
    while (*end == ' ' || *end == '\t') ++end;  // blanks behind a number are no part of it; strtod itself skips those before
    if (end != cell.c_str() + cell.size()) std::abort();
    ++checked;
  }
  return checked;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t runs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 10000;
  rng.seed(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  const std::unordered_set<std::string> markers{"NA", "null", "nan"};
  uint64_t records = 0, checked = 0;
  for (uint64_t run = 0; run < runs; ++run) {
    records += cuts(text(below(60)));
    std::vector<std::string> cells;
    for (uint64_t i = below(6); i-- > 0;) {
      std::string cell = text(1 + below(2));
      cells.push_back(cell.find('\0') == std::string::npos ? cell : "");
    }
    checked += numbers(cells, markers);
  }
  std::printf("%" PRIu64 " texts of CSV, %" PRIu64 " records cut, %" PRIu64 " numbers checked, no finding\n", runs, records, checked);
}
