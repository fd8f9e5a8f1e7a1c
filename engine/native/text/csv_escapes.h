// CSV whose special characters an escape character marks, as CSV whose values are quoted.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>

namespace fullpass {

// How values are written, and how they shall be.
struct EscapedDialect {
  uint8_t delimiter;
  int quote;  // < 0: no character quotes
  uint8_t escape;
  uint8_t written_quote;  // around the values of what comes out, where they need it; two of it are one
  std::unordered_set<std::string> kept;  // values that stay as they are: texts that mean "missing", such as \N
};

// Rewrites bytes that begin with a value, up to the last value that ends in them; at the end of a file all. An escape character makes
// the next one a part of the value, whatever it is. Returns how many bytes were taken; those behind them come again, before what follows.
// What is wrong in the file (text behind a closing quote, a quote never closed) stays so. Lines stay as many.
// `dangling`: the file ends in an escape character.
size_t rewrite_escapes(std::string_view data, const EscapedDialect& dialect, bool at_end, std::string& out, bool& dangling);

}  // namespace fullpass
