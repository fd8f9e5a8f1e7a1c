// Counts of distinct keys of 64 bits: open addressing with linear probing, a slot of 16 bytes, no pointer to follow.
//
// Each table mixes keys its own way. What one table gives comes in the order of its slots; were that the order of another table's
// slots, too, filling the other would crowd one end of it at a time, and each look-up there would run along the crowd.
#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

namespace fullpass {

inline uint64_t mix_key(uint64_t key) {
  key ^= key >> 29;
  key *= 0xbf58476d1ce4e5b9ULL;
  key ^= key >> 32;
  return key * 0x9e3779b97f4a7c15ULL;
}

class KeyTable {
 public:
  uint64_t hash(uint64_t key) const { return mix_key(key ^ salt_); }

  struct Slot {
    uint64_t key;
    int64_t count;  // 0: the slot is free; what is counted is above 0
  };

  // Makes room for `more` keys: until then no slot moves.
  void reserve(size_t more) {
    if ((size_ + more) * 8 > slots_.size() * 5) grow(size_ + more);
  }

  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash >> shift_], 1); }

  void add(uint64_t key, uint64_t hash, int64_t count) {
    for (size_t at = hash >> shift_;; at = (at + 1) & (slots_.size() - 1)) {
      Slot& slot = slots_[at];
      if (slot.count == 0) {
        slot = {key, count};
        ++size_;
        return;
      }
      if (slot.key == key) {
        slot.count += count;
        return;
      }
    }
  }

  size_t size() const { return size_; }
  size_t bytes() const { return slots_.capacity() * sizeof(Slot); }
  const std::vector<Slot>& slots() const { return slots_; }
  void clear() { *this = KeyTable(); }

 private:
  void grow(size_t keys) {
    int bits = 6;
    while (keys * 8 > (size_t{1} << bits) * 5) ++bits;
    std::vector<Slot> old(size_t{1} << bits);
    old.swap(slots_);
    shift_ = 64 - bits;
    size_ = 0;
    for (const Slot& slot : old)
      if (slot.count) add(slot.key, hash(slot.key), slot.count);
  }

  static uint64_t next_salt() {
    static std::atomic<uint64_t> made{0};
    return mix_key(++made);
  }

  uint64_t salt_ = next_salt();
  std::vector<Slot> slots_;
  size_t size_ = 0;
  int shift_ = 63;
};

}  // namespace fullpass
