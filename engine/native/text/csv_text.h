// CSV as bytes: where its records end, and what kind of number a cell's text is.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace fullpass {

// What a cut of a piece of CSV found. `stop`: one past the last record end (or the first one, where that was asked for), 0 where
// no record ends. `open_quote`: where a quoted value begins that does not end in the piece, or -1. `lines`: line ends before `stop`.
// `stray_text`: the first place behind a closing quote at which neither the next value nor the next line begins, nor blanks before one
// of them, or -1.
struct CsvCut {
  size_t stop = 0;
  int64_t open_quote = -1;
  int64_t lines = 0;
  int64_t stray_text = -1;
};

// Finds the end of the last (or first) whole record of bytes that begin with a record. A quote opens a value only at its very
// beginning; inside, two quotes are one. `quote` < 0: no character quotes.
CsvCut cut_records(const uint8_t* data, size_t size, uint8_t delimiter, int quote, bool first_only, bool at_end);

// In the order of what takes in what: a column is of the largest kind that any of its values has. kBig: whole numbers, some
// beyond 64 bits, which no double holds exactly.
enum class CellKind : int { kEmpty = 0, kInt = 1, kBig = 2, kFloat = 3, kText = 4 };

// What the texts of one column are. An index is that of the first such row, or -1.
struct CellNumbers {
  CellKind kind = CellKind::kEmpty;
  std::vector<uint8_t> validity;  // bitmap; empty where every row has a value
  int64_t nulls = 0;              // rows without a number, of kInt and kFloat
  int64_t numbers = 0;            // values that are numbers
  int64_t texts = 0;              // values that are none
  int64_t padded = 0;             // numbers that begin with a 0 that they do not need
  bool as_written = true;         // kInt: the numbers' own digits are the text
  int64_t first_text = -1, first_padded = -1, first_big = -1, first_overflow = -1, first_inexact = -1, first_not_int = -1;
};

// Texts that mean "missing" where a column is of numbers, such as NA.
class Markers {
 public:
  explicit Markers(std::unordered_set<std::string> texts);
  bool hold(const char* from, const char* to) const {
    return begins_[static_cast<uint8_t>(*from)] && static_cast<size_t>(to - from) <= longest_ && texts_.count(std::string(from, to));
  }

 private:
  std::unordered_set<std::string> texts_;
  size_t longest_ = 0;
  bool begins_[256] = {};
};

// A column of texts: an Arrow string array (32-bit offsets; validity may be null, and begins at bit `offset`).
struct TextColumn {
  const int32_t* offsets;
  const char* data;
  const uint8_t* validity;
  int64_t offset;
  int64_t rows;
};

// Reads a column's rows into `values`, 8 bytes a row: int64 of kInt, double of kFloat, of other kinds anything.
// `as_float`: whole numbers become doubles, too.
CellNumbers read_numbers(const TextColumn& column, const Markers& markers, bool as_float, uint8_t* values);

}  // namespace fullpass
