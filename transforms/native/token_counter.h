// Counts of distinct byte strings. A string of up to eight bytes is its own key; a longer one is kept in an arena.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "token_table.h"

namespace fullpass {

class TokenCounter {
 public:
  // Adds strings offsets[i] to offsets[i + 1] of `data`, each `counts[i]` times (above 0), or once where counts is null.
  template <typename Offset>
  void add(const Offset* offsets, const uint8_t* data, int64_t tokens, const int64_t* counts);

  int64_t size() const { return static_cast<int64_t>(short_.size() + eight_.size() + long_counts_.size()); }
  int64_t text_bytes() const;
  int64_t bytes() const;

  // Writes all strings: offsets [size + 1], text [text_bytes], counts [size].
  void write(int64_t* offsets, uint8_t* text, int64_t* counts) const;
  void clear() { *this = TokenCounter(); }

 private:
  void add_long(const uint8_t* text, size_t length, uint64_t hash, int64_t count);
  void grow_long();

  KeyTable short_;  // up to seven bytes; the length is in the eighth
  KeyTable eight_;  // exactly eight bytes
  struct LongSlot {
    uint64_t hash;
    uint32_t index;  // 1 + index of the string; 0: free
  };
  std::vector<LongSlot> long_slots_;
  std::vector<int64_t> long_counts_;
  std::vector<uint64_t> long_ends_;
  std::string long_text_;
};

// Writes the number of the hash partition of each string: the same in every process and version, since stored states rely on it.
template <typename Offset>
void partition_numbers(const Offset* offsets, const uint8_t* data, int64_t tokens, uint64_t parts, uint16_t* numbers);

}  // namespace fullpass
