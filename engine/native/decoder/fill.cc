// How the decoder fills columns from the places of their features.
#include "decoder/decoder.h"

namespace fullpass {

bool Decoder::fill_column(size_t index, int count, int* bad) {
  Column& column = columns_[index];
  const Slot* slots = slots_.data() + index * kBlock;
  switch (column.spec.kind) {
    case Kind::kInt64:
      return fill_shape<Kind::kInt64>(column, slots, count, bad);
    case Kind::kFloat:
      return fill_shape<Kind::kFloat>(column, slots, count, bad);
    default:
      return fill_shape<Kind::kBytes>(column, slots, count, bad);
  }
}

template <Kind kKind>
bool Decoder::fill_shape(Column& column, const Slot* slots, int count, int* bad) {
  if (is_scalar(column.spec.shape)) return fill_scalars<kKind>(column, slots, count, bad);
  return has_frames(column.spec.shape) ? fill_frames<kKind>(column, slots, count, bad) : fill_lists<kKind>(column, slots, count, bad);
}

template <Kind kKind>
bool Decoder::fill_scalars(Column& column, const Slot* slots, int count, int* bad) {
  const bool nullable = column.spec.shape == Shape::kNullable;
  uint64_t validity = 0;
  for (int row = 0; row < count; ++row) {
    row += fill_run<kKind>(column.values, slots + row, count - row, validity, row);
    if (row == count) break;
    bool valid = slots[row].offset != 0;
    if (valid && !append_scalar<kKind>(column, base_ + slots[row].offset, slots[row].size, &valid)) {
      *bad = row;
      return false;
    }
    if (valid) {
      validity |= 1ull << row;
    } else if (nullable) {
      column.values.push_null();
    } else if (!absent(column)) {
      *bad = row;
      return false;
    }
  }
  if (nullable) {
    column.push_validity(validity, count);
  } else {
    column.rows += count;
  }
  return true;
}

// Appends the values of as many slots as have the one shape that writers give a single value, and returns how many.
template <Kind kKind>
int Decoder::fill_run(Values& values, const Slot* slots, int count, uint64_t& validity, int first) {
  int row = 0;
  if constexpr (kKind == Kind::kFloat) {
    values.data.reserve(static_cast<size_t>(count) * 4);
    uint8_t* out = values.data.end();
    for (; row < count && slots[row].size == 8; ++row, out += 4) {
      const uint64_t word = load_u64(base_ + slots[row].offset);
      if (static_cast<uint32_t>(word) != 0x040a0612u) break;  // a FloatList of one packed value
      const auto value = static_cast<uint32_t>(word >> 32);
      std::memcpy(out, &value, 4);
    }
    values.data.set_size(values.data.size() + static_cast<size_t>(row) * 4);
  } else if constexpr (kKind == Kind::kBytes) {
    if (values.dictionary) return 0;
    size_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += slots[i].size;
    values.data.reserve(bytes);
    values.offsets.reserve(static_cast<size_t>(count) * 4);
    uint8_t* out = values.data.end();
    uint8_t* offset = values.offsets.end();
    auto end = static_cast<uint32_t>(values.data.size());
    for (; row < count; ++row, offset += 4) {
      const uint32_t size = slots[row].size;
      if (size < 4 || size > 129) break;
      const uint8_t* p = base_ + slots[row].offset;
      if (load_u32(p) != (0x000a000au | (size - 2) << 8 | (size - 4) << 24)) break;  // a BytesList of one short value
      if (size <= 20 && readable_ - p >= 20) {
        std::memcpy(out, p + 4, 16);
      } else {
        std::memcpy(out, p + 4, size - 4);
      }
      out += size - 4;
      end += size - 4;
      std::memcpy(offset, &end, 4);
    }
    values.data.set_size(end);
    values.offsets.set_size(values.offsets.size() + static_cast<size_t>(row) * 4);
  }
  values.count += row;
  if (row) validity |= (row == 64 ? ~0ull : (1ull << row) - 1) << first;
  return row;
}

template <Kind kKind>
bool Decoder::append_scalar(Column& column, const uint8_t* p, size_t size, bool* valid) {
  Values& values = column.values;
  if constexpr (kKind == Kind::kFloat) {
    if (size == 8 && load_u32(p) == 0x040a0612u) {  // a FloatList of one packed value
      values.push_float(load_u32(p + 4));
      return true;
    }
  } else {
    const uint8_t* at = p;
    size_t left = size;
    if (unwrap(&at, &left, feature_tag(kKind)) && unwrap(&at, &left, 0x0a)) {
      if constexpr (kKind == Kind::kBytes) {
        if (left <= 16 && !values.dictionary && readable_ - at >= 16) {
          values.data.reserve(16);
          std::memcpy(values.data.end(), at, 16);
          values.data.set_size(values.data.size() + left);
          values.offsets.push(static_cast<int32_t>(values.data.size()));
          ++values.count;
        } else {
          values.push_bytes(at, left);
        }
        return true;
      } else {
        uint64_t value;
        const uint8_t* stop = at + left;
        if (read_varint(&at, stop, &value) && at == stop) {
          values.push_int(static_cast<int64_t>(value));
          return true;
        }
      }
    }
  }
  if (!parse_slow(column, p, size)) return false;
  if (scratch_.size() == 0 && (column.spec.shape == Shape::kNullable || scratch_.kind == 0)) {
    *valid = false;
    return true;
  }
  if (scratch_.size() != 1) {
    code_ = FaultCode::kMismatch;
    reason_ = place_of(column) + " has " + std::to_string(scratch_.size()) +
              (column.spec.shape == Shape::kNullable ? " values, the schema allows one at most" : " values, the schema takes exactly one");
    return false;
  }
  push_slow(values);
  return true;
}

template <Kind kKind>
bool Decoder::fill_lists(Column& column, const Slot* slots, int count, int* bad) {
  const bool fixed = column.spec.shape == Shape::kFixedList;
  uint64_t validity = 0;
  for (int row = 0; row < count; ++row) {
    bool valid = slots[row].offset != 0;
    bool good = !valid || append_list<kKind>(column, base_ + slots[row].offset, slots[row].size, &valid);
    if (good && fixed && !valid) good = absent(column);
    if (!good) {
      *bad = row;
      return false;
    }
    if (!fixed) column.end_list();
    if (valid) validity |= 1ull << row;
  }
  if (fixed) {
    column.rows += count;
  } else {
    column.push_validity(validity, count);
  }
  return true;
}

template <Kind kKind>
bool Decoder::append_list(Column& column, const uint8_t* p, size_t size, bool* valid) {
  Values& values = column.values;
  if constexpr (kKind != Kind::kBytes) {
    const int64_t wanted = is_fixed(column.spec.shape) ? column.spec.list_size : -1;
    const uint8_t* at = p;
    size_t left = size;
    if (unwrap(&at, &left, feature_tag(kKind)) && left && unwrap(&at, &left, 0x0a)) {
      if constexpr (kKind == Kind::kFloat) {
        const auto found = static_cast<int64_t>(left / 4);
        if (left % 4 == 0 && (wanted < 0 || wanted == found)) {
          values.data.append(at, left);
          values.count += found;
          return true;
        }
      } else {
        const int64_t before = values.count;
        values.data.reserve(left * 8);
        const uint8_t* stop = at + left;
        uint64_t value = 0;
        bool whole = true;
        while (at < stop && (whole = read_varint(&at, stop, &value))) values.push_int(static_cast<int64_t>(value));
        if (whole && (wanted < 0 || wanted == values.count - before)) return true;
        values.truncate(before);
      }
    }
  }
  if (!parse_slow(column, p, size)) return false;
  if (scratch_.kind == 0) {
    *valid = false;
    return true;
  }
  if (is_fixed(column.spec.shape) && static_cast<int64_t>(scratch_.size()) != column.spec.list_size) {
    code_ = FaultCode::kMismatch;
    reason_ = place_of(column) + " has " + std::to_string(scratch_.size()) + " values, the schema takes exactly " +
              std::to_string(column.spec.list_size);
    return false;
  }
  push_slow(values);
  return true;
}

template <Kind kKind>
bool Decoder::fill_frames(Column& column, const Slot* slots, int count, int* bad) {
  uint64_t validity = 0;
  for (int row = 0; row < count; ++row) {
    const bool there = slots[row].offset != 0;
    frames_before_ = column.frames;
    const uint8_t* p = base_ + slots[row].offset;
    if (there ? !append_frames<kKind>(column, p, p + slots[row].size) : column.spec.required && !absent(column)) {
      *bad = row;
      return false;
    }
    column.end_list();
    if (there) validity |= 1ull << row;
  }
  column.push_validity(validity, count);
  return true;
}

// Walks FeatureList{feature = 1}.
template <Kind kKind>
bool Decoder::append_frames(Column& column, const uint8_t* p, const uint8_t* end) {
  while (p < end) {
    if constexpr (kKind == Kind::kFloat) {
      if (column.spec.shape == Shape::kFrames) p += append_floats(column, p, end);
      if (p == end) break;
    }
    uint32_t field = 1, type = kDelimited;
    const uint8_t* feature;
    size_t size;
    bool good = true;
    if (*p == 0x0a) {
      ++p;
    } else {
      good = read_tag(&p, end, &field, &type);
    }
    if (good && field == 1 && type == kDelimited) {
      good = read_span(&p, end, &feature, &size);
      if (good) {
        if (!append_frame<kKind>(column, feature, size)) return false;
        column.end_frame();
      }
    } else if (good) {
      good = skip_value(&p, end, field, type);
    }
    if (!good) {
      code_ = FaultCode::kMalformed;
      reason_ = "feature list '" + column.spec.name + "' is not a tf.FeatureList";
      return false;
    }
  }
  return true;
}

// Appends as many frames as hold one packed float each, as writers make them, and returns the bytes that they took.
size_t Decoder::append_floats(Column& column, const uint8_t* p, const uint8_t* end) {
  constexpr size_t kFrameBytes = 10;
  constexpr uint64_t kFrame = 0x040a0612080aull, kMask = (1ull << 48) - 1;  // what precedes the float
  size_t count = 0;
  const auto most = static_cast<size_t>(end - p) / kFrameBytes;
  Buffer& data = column.values.data;
  data.reserve(most * 4);
  for (uint8_t* out = data.end(); count < most; ++count, p += kFrameBytes, out += 4) {
    if ((load_u64(p) & kMask) != kFrame) break;
    std::memcpy(out, p + 6, 4);
  }
  data.set_size(data.size() + count * 4);
  column.values.count += static_cast<int64_t>(count);
  column.frames += static_cast<int64_t>(count);
  return count * kFrameBytes;
}

template <Kind kKind>
bool Decoder::append_frame(Column& column, const uint8_t* p, size_t size) {
  bool valid = true;
  if (column.spec.shape == Shape::kFrames) {
    if (!append_scalar<kKind>(column, p, size, &valid)) return false;
  } else if (!append_list<kKind>(column, p, size, &valid)) {
    return false;
  }
  // A frame without a kind has no values.
  if (valid || column.spec.shape == Shape::kVarFrames) return true;
  const int64_t wanted = column.spec.shape == Shape::kFrames ? 1 : column.spec.list_size;
  if (wanted == 0) return true;
  code_ = FaultCode::kMismatch;
  reason_ = place_of(column) + " has 0 values, the schema takes exactly " + (wanted == 1 ? "one" : std::to_string(wanted));
  return false;
}

bool Decoder::absent(Column& column) {
  if (column.spec.has_default) {
    column.push_default();
    return true;
  }
  code_ = FaultCode::kMismatch;
  reason_ = (has_frames(column.spec.shape) ? "feature list '" : "feature '") + column.spec.name +
            "' is missing, and the schema requires it" + (has_frames(column.spec.shape) ? "" : " and gives no default");
  return false;
}

// Where in the record a value is, for errors.
std::string Decoder::place_of(const Column& column) const {
  const std::string name = "'" + column.spec.name + "'";
  if (!has_frames(column.spec.shape)) return "feature " + name;
  return "frame " + std::to_string(column.frames - frames_before_) + " of feature list " + name;
}

bool Decoder::parse_slow(const Column& column, const uint8_t* p, size_t size) {
  if (!parse_feature(p, p + size, &scratch_)) {
    code_ = FaultCode::kMalformed;
    reason_ = place_of(column) + " is not a tf.Feature";
    return false;
  }
  const int wanted = feature_field(column.spec.kind);
  if (scratch_.kind != 0 && scratch_.kind != wanted) {
    code_ = FaultCode::kMismatch;
    reason_ = place_of(column) + " holds " + kind_name(scratch_.kind) + ", the schema says " + kind_name(wanted);
    return false;
  }
  return true;
}

void Decoder::push_slow(Values& values) {
  for (int64_t value : scratch_.ints) values.push_int(value);
  for (uint32_t value : scratch_.floats) values.push_float(value);
  for (const Span& span : scratch_.spans) values.push_bytes(span.data, span.size);
}

}  // namespace fullpass
