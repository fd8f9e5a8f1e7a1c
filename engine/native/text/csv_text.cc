#include "text/csv_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace fullpass {

namespace {

const uint8_t* last_line_end(const uint8_t* from, const uint8_t* to, bool may_be_half) {
  if (from == to) return nullptr;
  if (const void* found = memrchr(from, '\n', to - from)) return static_cast<const uint8_t*>(found);
  // Lines may end in \r alone; one at the very end of the bytes may be half of \r\n.
  const uint8_t* stop = may_be_half ? to - 1 : to;
  return stop == from ? nullptr : static_cast<const uint8_t*>(memrchr(from, '\r', stop - from));
}

const uint8_t* first_line_end(const uint8_t* from, const uint8_t* to, bool may_be_half) {
  for (const uint8_t* at = from; at < to; ++at) {
    if (*at == '\n') return at;
    if (*at == '\r') {
      if (at + 1 == to) return may_be_half ? nullptr : at;
      return at[1] == '\n' ? at + 1 : at;
    }
  }
  return nullptr;
}

}  // namespace

CsvCut cut_records(const uint8_t* data, size_t size, uint8_t delimiter, int quote, bool first_only, bool at_end) {
  const uint8_t *end = data + size, *at = data, *line_end = nullptr;
  CsvCut cut;
  const auto take_gap = [&](const uint8_t* to) {
    const bool may_be_half = !at_end && to == end;
    const uint8_t* found = first_only ? first_line_end(at, to, may_be_half) : last_line_end(at, to, may_be_half);
    if (found) line_end = found;
    return first_only && found;
  };
  while (true) {
    const uint8_t* open = at;
    while (quote >= 0) {
      open = static_cast<const uint8_t*>(memchr(open, quote, end - open));
      if (!open || open == data || open[-1] == delimiter || open[-1] == '\n' || open[-1] == '\r') break;
      ++open;
    }
    if (quote < 0) open = nullptr;
    if (take_gap(open ? open : end) || !open) break;
    const uint8_t* close = open + 1;
    while (true) {
      close = static_cast<const uint8_t*>(memchr(close, quote, end - close));
      if (!close || close + 1 >= end || close[1] != quote) break;
      close += 2;
    }
    if (!close || (close + 1 == end && !at_end)) {  // a quote at the very end may be the first of two
      cut.open_quote = open - data;
      break;
    }
    at = close + 1;
    if (cut.stray_text >= 0) continue;
    const uint8_t* next = at;  // blanks are part of the value, as in pandas and pyarrow
    while (next < end && *next != delimiter && (*next == ' ' || *next == '\t')) ++next;
    if (next < end && *next != delimiter && *next != '\n' && *next != '\r') cut.stray_text = at - data;
  }
  if (line_end) cut.stop = line_end - data + 1;
  const auto line_ends = std::count(data, data + cut.stop, '\n');
  cut.lines = line_ends ? line_ends : std::count(data, data + cut.stop, '\r');
  return cut;
}

namespace {

struct Spelling {
  enum Kind { kNone, kWhole, kDecimal, kSpecial } kind = kNone;
  const char *begin = nullptr, *end = nullptr;  // without spaces and without a plus sign
  bool padded = false, as_written = true;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool same_word(const char* from, const char* to, const char* word) {
  for (; from < to && *word; ++from, ++word)
    if ((*from | 0x20) != *word) return false;
  return from == to && !*word;
}

Spelling spelling_of(const char* from, const char* to) {
  Spelling out;
  const char *begin = from, *end = to;
  while (begin < end && (*begin == ' ' || *begin == '\t')) ++begin;
  while (begin < end && (end[-1] == ' ' || end[-1] == '\t')) --end;
  if (begin == end) return out;
  const bool minus = *begin == '-';
  const char* digits = begin + (minus || *begin == '+');
  if (*begin == '+') begin = digits;
  if (digits == end) return out;
  const char* at = digits;
  while (at < end && is_digit(*at)) ++at;
  const auto whole = at - digits;
  out.begin = begin;
  out.end = end;
  out.padded = whole > 1 && *digits == '0';
  out.as_written = begin == from && end == to && !out.padded && !(minus && whole == 1 && *digits == '0');
  if (at == end) {
    out.kind = Spelling::kWhole;
    return out;
  }
  if (!whole && *at != '.') {
    if (same_word(digits, end, "inf") || same_word(digits, end, "infinity") || same_word(digits, end, "nan"))
      out.kind = Spelling::kSpecial;
    return out;
  }
  int64_t fraction = 0;
  if (*at == '.')
    for (++at; at < end && is_digit(*at); ++at) ++fraction;
  if (!whole && !fraction) return out;
  if (at < end && (*at | 0x20) == 'e') {
    ++at;
    if (at < end && (*at == '+' || *at == '-')) ++at;
    const char* exponent = at;
    while (at < end && is_digit(*at)) ++at;
    if (at == exponent) return out;
  }
  if (at == end) out.kind = Spelling::kDecimal;
  return out;
}

double double_of(const Spelling& number) {
  double value = 0;
  const auto parsed = std::from_chars(number.begin, number.end, value);
  if (parsed.ec == std::errc::result_out_of_range)  // infinite, or as small as nothing: from_chars does not say which
    value = std::strtod(std::string(number.begin, number.end).c_str(), nullptr);
  return value;
}

bool exact_as_double(const Spelling& number, double value) {
  if (std::fabs(value) < 9007199254740992.0) return true;
  int64_t whole = 0;
  const auto parsed = std::from_chars(number.begin, number.end, whole);
  return parsed.ec == std::errc() && std::fabs(value) < 9223372036854775808.0 && static_cast<int64_t>(value) == whole;
}

// The commonest numbers in one go: up to 15 digits, a fraction perhaps, spelled as we would write them. Both the digits and the power
// of ten are exact doubles then, so that their quotient is rounded correctly (Clinger 1990).
struct Plain {
  bool found = false, whole = false;
  int64_t digits = 0;
  double value = 0;
};

Plain plain_number(const char* from, const char* to) {
  static const double kPowers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  Plain out;
  const bool minus = *from == '-';
  const char* at = from + minus;
  if (to - at > 16 || at == to || (*at == '0' && (minus || (at + 1 < to && at[1] != '.')))) return out;
  const char *first = at, *point = nullptr;
  int64_t digits = 0;
  for (; at < to; ++at) {
    if (is_digit(*at)) digits = digits * 10 + (*at - '0');
    else if (*at == '.' && !point && at != first) point = at;
    else return out;
  }
  if (to - first - (point != nullptr) > 15 || point == to - 1) return out;
  out.found = true;
  out.whole = !point;
  out.digits = minus ? -digits : digits;
  out.value = point ? static_cast<double>(out.digits) / kPowers[to - point - 1] : static_cast<double>(out.digits);
  return out;
}

void note(int64_t* first, int64_t row) {
  if (*first < 0) *first = row;
}

void set_null(CellNumbers* out, int64_t row, int64_t rows) {
  if (out->validity.empty()) out->validity.assign((rows + 7) / 8, 0xff);
  out->validity[row >> 3] &= static_cast<uint8_t>(~(1u << (row & 7)));
  ++out->nulls;
}

}  // namespace

Markers::Markers(std::unordered_set<std::string> texts) : texts_(std::move(texts)) {
  for (const auto& text : texts_) {
    longest_ = std::max(longest_, text.size());
    if (!text.empty()) begins_[static_cast<uint8_t>(text[0])] = true;
  }
}

CellNumbers read_numbers(const TextColumn& column, const Markers& markers, bool as_float, uint8_t* values) {
  CellNumbers out;
  const int32_t* offsets = column.offsets;
  const int64_t rows = column.rows;
  bool floats = as_float, whole = !as_float;
  const auto put = [values](int64_t row, auto value) {
    static_assert(sizeof(value) == 8);
    std::memcpy(values + 8 * row, &value, 8);
  };
  const auto missing = [&column](int64_t row) {
    return column.validity && !(column.validity[(column.offset + row) >> 3] >> ((column.offset + row) & 7) & 1);
  };
  const auto put_null = [&](int64_t row) {
    set_null(&out, row, rows);
    put(row, int64_t{0});
  };
  // Whole numbers seen before the first fraction become doubles once it comes; those beyond 64 bits are read again from their text.
  const auto to_floats = [&](int64_t upto) {
    floats = true;
    whole = false;
    for (int64_t row = 0; row < upto; ++row) {
      const Spelling number = spelling_of(column.data + offsets[row], column.data + offsets[row + 1]);
      if (number.kind != Spelling::kWhole || missing(row)) continue;  // others, "nan" among them, are null so far
      const double value = double_of(number);
      put(row, value);
      if (!exact_as_double(number, value)) note(&out.first_inexact, row);
    }
  };
  for (int64_t row = 0; row < rows; ++row) {
    if (missing(row)) {
      put_null(row);
      continue;
    }
    const char *from = column.data + offsets[row], *to = column.data + offsets[row + 1];
    if (from == to) {  // a quoted empty value: no number, and no text that could tell one from the other
      put_null(row);
      out.as_written = false;
      continue;
    }
    if (const Plain plain = plain_number(from, to); plain.found && !out.texts) {
      if (whole && !plain.whole) to_floats(row);
      ++out.numbers;
      if (whole) {
        put(row, plain.digits);
      } else {
        put(row, plain.value);
      }
      if (!plain.whole) note(&out.first_not_int, row);
      continue;
    }
    const Spelling number = spelling_of(from, to);
    const bool loose = number.kind == Spelling::kNone || number.kind == Spelling::kSpecial;
    if (loose && markers.hold(from, to)) {
      out.as_written = false;
      put_null(row);
      continue;
    }
    if (number.kind == Spelling::kNone) {
      ++out.texts;
      note(&out.first_text, row);
      note(&out.first_not_int, row);
      whole = floats = false;
      continue;
    }
    ++out.numbers;
    out.as_written &= number.as_written;
    if (number.padded) {
      ++out.padded;
      note(&out.first_padded, row);
    }
    if (number.kind != Spelling::kWhole) note(&out.first_not_int, row);
    if (out.texts) continue;
    if (whole) {
      if (number.kind == Spelling::kWhole) {
        int64_t value = 0;
        const auto parsed = std::from_chars(number.begin, number.end, value);
        if (parsed.ec == std::errc::result_out_of_range) {
          note(&out.first_big, row);
          note(&out.first_not_int, row);
          note(&out.first_inexact, row);
        } else if (!exact_as_double(number, static_cast<double>(value))) {
          note(&out.first_inexact, row);  // the column may be of doubles yet, by another piece or file
        }
        put(row, value);
        continue;
      }
      to_floats(row);
    }
    const double value = double_of(number);
    put(row, value);
    if (number.kind == Spelling::kWhole && !exact_as_double(number, value)) note(&out.first_inexact, row);
    if (number.kind != Spelling::kSpecial && std::isinf(value)) note(&out.first_overflow, row);
  }
  if (out.texts) out.kind = CellKind::kText;
  else if (!out.numbers) out.kind = CellKind::kEmpty;
  else if (floats) out.kind = CellKind::kFloat;
  else out.kind = out.first_big >= 0 ? CellKind::kBig : CellKind::kInt;
  return out;
}

}  // namespace fullpass
