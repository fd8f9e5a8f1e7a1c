// The usual record in one pass: its features come in the order and shape of the records before it, so each is compared whole -
// lengths, key and tags at once - and its value goes straight into its column. Whatever is otherwise is left to the decoder's
// general way; nothing is decided here that it would decide differently.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "decoder/columns.h"
#include "feed/key_index.h"
#include "feed/prefix.h"

namespace fullpass {

struct Slot {
  uint32_t offset;  // from the block's base; 0: absent
  uint32_t size;
};

class RowPlan {
 public:
  static constexpr int kRows = 64;  // between begin and commit: one validity word
  static constexpr int kMostMissing = 32;  // expected features in a row; with more the general way is no slower

  // Expects the keys that the indices expect. Without `lists` feature lists are passed over unseen.
  void learn(const KeyIndex& keys, const KeyIndex* lists, const std::vector<Column>& columns, bool strict);
  // Makes room for kRows rows. `slots` take the places of features that are no single values, [column][row], from `base`.
  void begin(std::vector<Column>& columns, Slot* slots, const uint8_t* base);
  // Puts one record into row `row`, or returns false and leaves the row to be written again.
  bool add(const uint8_t* payload, size_t size, int row, const uint8_t* readable);
  // Appends the first `rows` rows to the columns, but those that have slots, whose indices are in slotted().
  void commit(std::vector<Column>& columns, int rows);
  const std::vector<size_t>& slotted() const { return slotted_; }
  uint64_t version() const { return version_; }

 private:
  enum class Op : uint8_t { kText, kFloat, kInt, kLongText, kSlot, kIgnore, kNever };
  // What every record touches comes first, within one or two cache lines.
  struct alignas(64) Step {
    uint64_t first_base, first_scale;  // of the prefix's first word, and of its last
    uint64_t last_base, last_scale, last_mask;
    uint32_t last_at;      // byte of the last word
    uint32_t prefix_size;
    uint8_t* data;         // of row 0
    uint8_t* offsets;      // kText: offset of row 0; the value's end goes behind it
    uint64_t validity;
    Op op;
    bool two_words;
    Shape shape;
    bool has_default;
    bool slotted;
    int column;
    Prefix prefix;
    std::string key;       // key tag, length, key and value tag
    Values* values;
    const FieldSpec* spec;
  };
  void expect(const KeyIndex& keys, const std::vector<Column>& columns, bool strict, bool lists);
  void expect_one(std::string_view name, const std::string& key, int column, Op op, const std::vector<Column>& columns);
  static void set_prefix(Step& step);
  static bool stands_at(const Step& step, const uint8_t* p, uint64_t value_bytes);
  bool add_entries(Step* step, Step* last, const uint8_t* p, const uint8_t* end, int row);
  const uint8_t* match(Step& step, const uint8_t* p, const uint8_t* end, int row);
  const uint8_t* match_loosely(Step& step, const uint8_t* p, const uint8_t* end, int row);
  bool absent(Step& step, int row);
  void put_text(Step& step, const uint8_t* from, size_t size, int row);
  static void set_text_end(Step& step, int row, uint32_t end) {
    std::memcpy(step.offsets + static_cast<size_t>(row + 1) * 4, &end, 4);
  }
  // Where the text of `row` begins.
  static uint32_t text_end(const Step& step, int row) { return load_u32(step.offsets + static_cast<size_t>(row) * 4); }

  std::vector<Step> steps_;  // those of features, then from num_features_ on those of feature lists
  size_t num_features_ = 0;
  bool lists_ = false;
  std::vector<size_t> slotted_;
  Slot* slots_ = nullptr;
  const uint8_t* base_ = nullptr;
  uint64_t version_ = 0;  // of both indices, when they were learnt
};

}  // namespace fullpass
