#include "token_counter.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace fullpass {
namespace {

constexpr int64_t kBlock = 32;  // strings that are looked up together, so that their cache misses overlap

uint64_t load_short(const uint8_t* text, size_t length, const uint8_t* end) {
  uint64_t key = 0;
  if (length == 0) return 0;
  if (text + 8 <= end) {
    std::memcpy(&key, text, 8);
    key &= (uint64_t{1} << (8 * length)) - 1;
  } else {
    std::memcpy(&key, text, length);
  }
  return key | (static_cast<uint64_t>(length) << 56);
}

uint64_t hash_long(const uint8_t* text, size_t length) {
  uint64_t hash = length * 0x9e3779b97f4a7c15ULL;
  uint64_t word;
  for (; length > 8; text += 8, length -= 8) {
    std::memcpy(&word, text, 8);
    hash = mix_key(hash ^ word);
  }
  word = 0;
  std::memcpy(&word, text, length);
  return mix_key(hash ^ word);
}

}  // namespace

template <typename Offset>
void TokenCounter::add(const Offset* offsets, const uint8_t* data, int64_t tokens, const int64_t* counts) {
  const uint8_t* end = data + offsets[tokens];
  uint64_t keys[kBlock], hashes[kBlock];
  for (int64_t first = 0; first < tokens; first += kBlock) {
    const int64_t block = std::min(kBlock, tokens - first);
    short_.reserve(kBlock);
    eight_.reserve(kBlock);
    for (int64_t at = 0; at < block; ++at) {
      const uint8_t* text = data + offsets[first + at];
      const size_t length = static_cast<size_t>(offsets[first + at + 1] - offsets[first + at]);
      if (length == 8) {
        std::memcpy(&keys[at], text, 8);
        hashes[at] = eight_.hash(keys[at]);
        eight_.prefetch(hashes[at]);
      } else if (length < 8) {
        keys[at] = load_short(text, length, end);
        hashes[at] = short_.hash(keys[at]);
        short_.prefetch(hashes[at]);
      } else {
        hashes[at] = hash_long(text, length);
      }
    }
    for (int64_t at = 0; at < block; ++at) {
      const size_t length = static_cast<size_t>(offsets[first + at + 1] - offsets[first + at]);
      const int64_t count = counts ? counts[first + at] : 1;
      if (length == 8)
        eight_.add(keys[at], hashes[at], count);
      else if (length < 8)
        short_.add(keys[at], hashes[at], count);
      else
        add_long(data + offsets[first + at], length, hashes[at], count);
    }
  }
}

template void TokenCounter::add<int32_t>(const int32_t*, const uint8_t*, int64_t, const int64_t*);
template void TokenCounter::add<int64_t>(const int64_t*, const uint8_t*, int64_t, const int64_t*);

void TokenCounter::add_long(const uint8_t* text, size_t length, uint64_t hash, int64_t count) {
  if ((long_counts_.size() + 1) * 8 > long_slots_.size() * 5) grow_long();
  const size_t mask = long_slots_.size() - 1;
  for (size_t at = (hash >> 20) & mask;; at = (at + 1) & mask) {
    LongSlot& slot = long_slots_[at];
    if (slot.index == 0) {
      if (long_counts_.size() >= UINT32_MAX - 1) throw std::length_error("more than 2**32 distinct tokens in one state");
      long_text_.append(reinterpret_cast<const char*>(text), length);
      long_ends_.push_back(long_text_.size());
      long_counts_.push_back(count);
      slot = {hash, static_cast<uint32_t>(long_counts_.size())};
      return;
    }
    if (slot.hash != hash) continue;
    const size_t index = slot.index - 1;
    const uint64_t start = index ? long_ends_[index - 1] : 0;
    if (long_ends_[index] - start == length && std::memcmp(long_text_.data() + start, text, length) == 0) {
      long_counts_[index] += count;
      return;
    }
  }
}

void TokenCounter::grow_long() {
  std::vector<LongSlot> old(long_slots_.empty() ? 64 : long_slots_.size() * 2);
  old.swap(long_slots_);
  const size_t mask = long_slots_.size() - 1;
  for (const LongSlot& slot : old) {
    if (slot.index == 0) continue;
    size_t at = (slot.hash >> 20) & mask;
    while (long_slots_[at].index) at = (at + 1) & mask;
    long_slots_[at] = slot;
  }
}

int64_t TokenCounter::text_bytes() const {
  int64_t bytes = static_cast<int64_t>(8 * eight_.size() + long_text_.size());
  for (const KeyTable::Slot& slot : short_.slots())
    if (slot.count) bytes += static_cast<int64_t>(slot.key >> 56);
  return bytes;
}

int64_t TokenCounter::bytes() const {
  return static_cast<int64_t>(short_.bytes() + eight_.bytes() + long_slots_.capacity() * sizeof(LongSlot) +
                              16 * long_counts_.capacity() + long_text_.capacity());
}

void TokenCounter::write(int64_t* offsets, uint8_t* text, int64_t* counts) const {
  int64_t at = 0;
  *offsets++ = 0;
  for (const KeyTable* table : {&short_, &eight_}) {
    for (const KeyTable::Slot& slot : table->slots()) {
      if (slot.count == 0) continue;
      const int64_t length = table == &eight_ ? 8 : static_cast<int64_t>(slot.key >> 56);
      std::memcpy(text + at, &slot.key, static_cast<size_t>(length));
      at += length;
      *offsets++ = at;
      *counts++ = slot.count;
    }
  }
  if (!long_text_.empty()) std::memcpy(text + at, long_text_.data(), long_text_.size());
  for (size_t index = 0; index < long_counts_.size(); ++index) {
    *offsets++ = at + static_cast<int64_t>(long_ends_[index]);
    *counts++ = long_counts_[index];
  }
}

namespace {

uint64_t stir(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  return value ^ (value >> 27);
}

}  // namespace

template <typename Offset>
void partition_numbers(const Offset* offsets, const uint8_t* data, int64_t tokens, uint64_t parts, uint16_t* numbers) {
  for (int64_t at = 0; at < tokens; ++at) {
    uint64_t hash = 0, place = 0;
    for (Offset byte = offsets[at]; byte < offsets[at + 1]; ++byte) hash += stir(data[byte] + (place += 0x9e3779b97f4a7c15ULL));
    numbers[at] = static_cast<uint16_t>((stir(hash) >> 40) % parts);
  }
}

template void partition_numbers<int32_t>(const int32_t*, const uint8_t*, int64_t, uint64_t, uint16_t*);
template void partition_numbers<int64_t>(const int64_t*, const uint8_t*, int64_t, uint64_t, uint16_t*);

}  // namespace fullpass
