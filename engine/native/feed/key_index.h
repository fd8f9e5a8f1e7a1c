// Which column a feature key belongs to. Records of one file mostly list their keys in one order, so the next key is
// compared with the expected one before anything is hashed.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "decoder/columns.h"
#include "decoder/wire.h"

namespace fullpass {

constexpr int kUnknown = -1;   // a key that the schema does not have
constexpr int kSkipped = -2;   // a key of the schema that this read leaves out
constexpr int kNotFound = -3;

class KeyIndex {
 public:
  // Of the features of Examples and contexts, or of feature lists.
  KeyIndex(const std::vector<FieldSpec>& fields, bool lists);

  // Starts the next record.
  void rewind() { cursor_ = 0; }

  // Where the bytes at p begin with an expected `key, value tag`, moves p past them and returns the column; else kNotFound.
  // `readable` is the end of memory that may be read, `end` that of the entry.
  int predict(const uint8_t** p, const uint8_t* end, const uint8_t* readable) {
    const size_t stop = cursor_ + kLookAhead < order_.size() ? cursor_ + kLookAhead : order_.size();
    for (size_t at = cursor_; at < stop; ++at) {
      const Expected& expected = order_[at];
      if (!matches(expected, *p, end, readable)) continue;
      *p += expected.size;
      cursor_ = at + 1;
      return expected.column;
    }
    return kNotFound;
  }

  // What is expected, in order: the key, its bytes with the tags around them, its column.
  size_t size() const { return order_.size(); }
  std::string_view name(size_t at) const { return std::string_view(order_[at].bytes).substr(order_[at].key_at, order_[at].key_size); }
  const std::string& bytes(size_t at) const { return order_[at].bytes; }
  int column(size_t at) const { return order_[at].column; }
  // Changes with what is expected.
  uint64_t version() const { return version_; }

  // Looks a key up by its content, and expects it here from now on.
  int find(const uint8_t* key, size_t size);

 private:
  static constexpr size_t kLookAhead = 12;  // keys that may be missing in a row before hashing is cheaper
  struct Expected {
    static constexpr size_t kInline = 4;
    uint64_t words[kInline] = {};  // key tag, length, key and value tag, padded with zeros; as much as fits
    uint64_t last_mask;            // of the last word used
    uint32_t used;                 // words
    uint32_t size;                 // bytes in all
    int column;
    std::string rest;   // what does not fit
    std::string bytes;  // all of it
    size_t key_at, key_size;
  };
  static bool matches(const Expected& expected, const uint8_t* p, const uint8_t* end, const uint8_t* readable) {
    const size_t last = expected.used - 1;
    if (static_cast<size_t>(end - p) < expected.size || static_cast<size_t>(readable - p) < expected.used * 8) return false;
    for (size_t i = 0; i < last; ++i)
      if (load_u64(p + i * 8) != expected.words[i]) return false;
    if ((load_u64(p + last * 8) & expected.last_mask) != expected.words[last]) return false;
    return expected.rest.empty() || !std::memcmp(p + Expected::kInline * 8, expected.rest.data(), expected.rest.size());
  }
  static Expected make(std::string_view key, int column);

  std::unordered_map<std::string_view, int> columns_;
  std::unordered_map<std::string, size_t> places_;  // of keys in order_
  std::vector<Expected> order_;
  size_t cursor_ = 0;
  size_t limit_;
  size_t misses_ = 0;
  uint64_t version_ = 1;
};

}  // namespace fullpass
