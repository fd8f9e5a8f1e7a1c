#include "feed/row_plan.h"

#include "decoder/feature.h"

namespace fullpass {
namespace {

constexpr size_t kTextRoom = 160;  // for a text as long as one-byte lengths allow, and what its copy spills

constexpr int kAheadBytes = 256;
void expect_writes(const uint8_t* begin, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(begin + at, 1);
}

size_t value_bytes(Kind kind) { return kind == Kind::kFloat ? 4 : 8; }

}  // namespace

void RowPlan::learn(const KeyIndex& keys, const KeyIndex* lists, const std::vector<Column>& columns, bool strict) {
  version_ = keys.version() + (lists ? lists->version() : 0);
  lists_ = lists != nullptr;
  steps_.clear();
  slotted_.clear();
  expect(keys, columns, strict, false);
  num_features_ = steps_.size();
  if (lists) expect(*lists, columns, strict, true);
}

void RowPlan::expect(const KeyIndex& keys, const std::vector<Column>& columns, bool strict, bool lists) {
  std::vector<bool> expected(columns.size());
  for (size_t at = 0; at < keys.size(); ++at) {
    const int column = keys.column(at);
    if (column == kUnknown && strict) continue;
    expect_one(keys.name(at), keys.bytes(at), column, Op::kIgnore, columns);
    if (column >= 0) expected[static_cast<size_t>(column)] = true;
  }
  for (size_t column = 0; column < columns.size(); ++column)
    if (!expected[column] && has_frames(columns[column].spec.shape) == lists)
      expect_one("", "", static_cast<int>(column), Op::kNever, columns);
}

void RowPlan::expect_one(std::string_view name, const std::string& key, int column, Op op, const std::vector<Column>& columns) {
  Step step{};
  step.op = op;
  step.column = column;
  step.key = key;
  if (column >= 0) {
    step.spec = &columns[static_cast<size_t>(column)].spec;
    step.shape = step.spec->shape;
    step.has_default = step.spec->has_default;
    step.slotted = !is_scalar(step.shape) || (step.spec->dictionary && step.spec->kind == Kind::kBytes);
    if (step.slotted) {
      slotted_.push_back(static_cast<size_t>(column));
      step.op = op == Op::kNever ? Op::kNever : Op::kSlot;
    } else if (op != Op::kNever) {
      step.op = step.spec->kind == Kind::kFloat ? Op::kFloat : step.spec->kind == Kind::kInt64 ? Op::kInt : Op::kText;
      step.prefix = Prefix(name, step.spec->kind);
      set_prefix(step);
    }
  }
  steps_.push_back(std::move(step));
}

void RowPlan::begin(std::vector<Column>& columns, Slot* slots, const uint8_t* base) {
  slots_ = slots;
  base_ = base;
  for (Step& step : steps_) {
    step.validity = ~0ull;
    if (step.column < 0 || step.slotted) continue;
    Values& values = columns[static_cast<size_t>(step.column)].values;
    step.values = &values;
    values.data.reserve(kRows * kTextRoom);
    if (step.spec->kind == Kind::kBytes) {
      values.offsets.reserve(kRows * 4);
      step.offsets = values.offsets.end() - 4;
      step.data = values.data.data();
      expect_writes(step.offsets, kRows * 4);
    } else {
      step.data = values.data.end();
      expect_writes(step.data, kRows * value_bytes(step.spec->kind));
    }
  }
}

void RowPlan::set_prefix(Step& step) {
  const Prefix& prefix = step.prefix;
  if (!prefix.words) {  // the key is too long: texts are then recognized by their keys, numbers left to the general way
    step.op = step.op == Op::kText ? Op::kLongText : Op::kNever;
    return;
  }
  const uint32_t last = prefix.words - 1;
  step.first_base = prefix.base[0];
  step.first_scale = prefix.scale[0];
  step.last_base = prefix.base[last];
  step.last_scale = prefix.scale[last];
  step.last_mask = prefix.last_mask;
  step.last_at = last * 8;
  step.prefix_size = prefix.size;
  step.two_words = prefix.words == 2;  // never fewer
}

// As Prefix::stands_at, for short keys without a loop.
inline bool RowPlan::stands_at(const Step& step, const uint8_t* p, uint64_t value_bytes) {
  const uint64_t first = load_u64(p) ^ (step.first_base + value_bytes * step.first_scale);
  const uint64_t last = load_u64(p + step.last_at) ^ (step.last_base + value_bytes * step.last_scale);
  if (first | (last & step.last_mask)) return false;
  return step.two_words || step.prefix.stands_at(p, value_bytes);
}

// Where the step's prefix is at p, takes the value and returns what follows it; else null.
inline const uint8_t* RowPlan::match(Step& step, const uint8_t* p, const uint8_t* end, int row) {
  const uint8_t* at = p + step.prefix_size;
  if (step.op == Op::kText) {
    const uint32_t size = at[-1];
    const uint32_t begin = text_end(step, row);
    uint8_t* out = step.data + begin;
    __builtin_prefetch(out + kAheadBytes, 1);
    if (size <= 16) {  // may lie past the record's end: its length then does not come out
      if (!stands_at(step, p, size)) return match_loosely(step, p, end, row);
      std::memcpy(out, at, 16);
    } else {
      if (size > step.prefix.most || size > end - at || !stands_at(step, p, size)) return match_loosely(step, p, end, row);
      std::memcpy(out, at, size);
    }
    set_text_end(step, row, begin + size);
    return at + size;
  }
  if (step.op == Op::kFloat) {
    if (!stands_at(step, p, 4)) return nullptr;
    std::memcpy(step.data + static_cast<size_t>(row) * 4, at, 4);
    return at + 4;
  }
  if (step.op == Op::kInt) {
    const uint8_t size = at[-1];
    if (size - 1u > 9 || !stands_at(step, p, size)) return nullptr;
    uint64_t value = at[0];
    if (size > 1 || value >= 0x80) {
      const uint8_t* stop = at + size;
      if (stop > end || !read_varint(&at, stop, &value) || at != stop) return nullptr;
    } else {
      ++at;
    }
    std::memcpy(step.data + static_cast<size_t>(row) * 8, &value, 8);
    return at;
  }
  return match_loosely(step, p, end, row);
}

// The same for entries whose lengths take more than a byte, and for lists: by the key alone.
const uint8_t* RowPlan::match_loosely(Step& step, const uint8_t* p, const uint8_t* end, int row) {
  if (step.op == Op::kNever || *p != 0x0a) return nullptr;
  const uint8_t* at = p + 1;
  size_t length, size;
  if (!read_length(&at, end, &length)) return nullptr;
  const uint8_t* stop = at + length;
  if (length < step.key.size() || std::memcmp(at, step.key.data(), step.key.size())) return nullptr;
  at += step.key.size();
  if (!read_length(&at, stop, &size) || at + size != stop) return nullptr;
  switch (step.op) {
    case Op::kText:
    case Op::kLongText:
      if (!unwrap(&at, &size, feature_tag(Kind::kBytes)) || !unwrap(&at, &size, 0x0a)) return nullptr;
      put_text(step, at, size, row);
      break;
    case Op::kSlot:
      slots_[static_cast<size_t>(step.column) * kRows + static_cast<size_t>(row)] = {static_cast<uint32_t>(at - base_),
                                                                                     static_cast<uint32_t>(size)};
      break;
    case Op::kIgnore:
      break;
    default:
      return nullptr;
  }
  return stop;
}

void RowPlan::put_text(Step& step, const uint8_t* from, size_t size, int row) {
  const uint32_t begin = text_end(step, row);
  Buffer& data = step.values->data;
  const size_t committed = data.size();
  data.set_size(begin);  // room is counted from what the rows before this one wrote
  data.reserve(size + kRows * kTextRoom);
  data.set_size(committed);
  step.data = data.data();
  if (size) std::memcpy(step.data + begin, from, size);
  set_text_end(step, row, static_cast<uint32_t>(begin + size));
}

bool RowPlan::absent(Step& step, int row) {
  if (step.column < 0) return true;
  if (step.slotted) {
    slots_[static_cast<size_t>(step.column) * kRows + static_cast<size_t>(row)] = {0, 0};
    return true;
  }
  const FieldSpec& spec = *step.spec;
  const bool nullable = step.shape == Shape::kNullable;
  if (nullable) {
    step.validity &= ~(1ull << row);
  } else if (!step.has_default) {
    return false;
  }
  if (spec.kind == Kind::kBytes) {
    if (nullable) {
      set_text_end(step, row, text_end(step, row));
    } else {
      const std::string& text = spec.default_bytes[0];
      put_text(step, reinterpret_cast<const uint8_t*>(text.data()), text.size(), row);
    }
  } else if (spec.kind == Kind::kFloat) {
    const float value = nullable ? 0 : spec.default_floats[0];
    std::memcpy(step.data + static_cast<size_t>(row) * 4, &value, 4);
  } else {
    const int64_t value = nullable ? 0 : spec.default_ints[0];
    std::memcpy(step.data + static_cast<size_t>(row) * 8, &value, 8);
  }
  return true;
}

// Puts the entries of one message, from p to end and no further, into row `row`.
inline bool RowPlan::add_entries(Step* step, Step* const last, const uint8_t* p, const uint8_t* end, int row) {
  for (; p < end; ++step) {
    const uint8_t* next = nullptr;
    for (int missing = 0; step != last && !(next = match(*step, p, end, row)); ++step)
      if (++missing > kMostMissing || !absent(*step, row)) return false;
    if (!next) return false;
    p = next;
  }
  for (; step != last; ++step)
    if (!absent(*step, row)) return false;
  return p == end;
}

// Takes Example{features = 1} and SequenceExample{context = 1, feature_lists = 2}, where each field comes once and in order.
bool RowPlan::add(const uint8_t* payload, size_t size, int row, const uint8_t* readable) {
  const uint8_t* p = payload;
  const uint8_t* end = p + size;
  // Prefixes are compared, and short texts copied, without looking where the record ends.
  if (size < 2 || static_cast<size_t>(readable - end) < Prefix::kWords * 8 + 32) return false;
  Step* const features = steps_.data();
  Step* const lists = features + num_features_;
  size_t length = 0;
  if (*p == 0x0a) {
    ++p;
    if (!read_length(&p, end, &length)) return false;
  }
  if (!add_entries(features, lists, p, p + length, row)) return false;
  p += length;
  length = 0;
  if (p < end) {
    if (*p++ != 0x12 || !read_length(&p, end, &length) || p + length != end) return false;
    if (!lists_) return true;
  }
  return add_entries(lists, features + steps_.size(), p, p + length, row);
}

void RowPlan::commit(std::vector<Column>& columns, int rows) {
  for (Step& step : steps_) {
    if (step.column < 0 || step.slotted) continue;
    Column& column = columns[static_cast<size_t>(step.column)];
    Values& values = column.values;
    if (step.spec->kind == Kind::kBytes) {
      values.data.set_size(text_end(step, rows));
      values.offsets.set_size(values.offsets.size() + static_cast<size_t>(rows) * 4);
    } else {
      values.data.set_size(values.data.size() + static_cast<size_t>(rows) * value_bytes(step.spec->kind));
    }
    values.count += rows;
    if (step.shape == Shape::kNullable) {
      column.push_validity(step.validity, rows);
    } else {
      column.rows += rows;
    }
  }
}

}  // namespace fullpass
