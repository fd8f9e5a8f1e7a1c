// How the decoder fills columns from the places of their features.
#include "decoder.h"

namespace fullpass {

bool Decoder::fill_column(size_t index, int count, int* bad) {
  Column& column = columns_[index];
  const Slot* slots = slots_.data() + index * kBlock;
  const bool scalar = column.spec.shape == Shape::kNullable || column.spec.shape == Shape::kRequired;
  switch (column.spec.kind) {
    case Kind::kInt64:
      return scalar ? fill_scalars<Kind::kInt64>(column, slots, count, bad) : fill_lists<Kind::kInt64>(column, slots, count, bad);
    case Kind::kFloat:
      return scalar ? fill_scalars<Kind::kFloat>(column, slots, count, bad) : fill_lists<Kind::kFloat>(column, slots, count, bad);
    default:
      return scalar ? fill_scalars<Kind::kBytes>(column, slots, count, bad) : fill_lists<Kind::kBytes>(column, slots, count, bad);
  }
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
  if (!parse_slow(column.spec, p, size)) return false;
  if (scratch_.size() == 0 && (column.spec.shape == Shape::kNullable || scratch_.kind == 0)) {
    *valid = false;
    return true;
  }
  if (scratch_.size() != 1) {
    code_ = FaultCode::kMismatch;
    reason_ = "feature '" + column.spec.name + "' has " + std::to_string(scratch_.size()) +
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
    const int64_t wanted = column.spec.shape == Shape::kFixedList ? column.spec.list_size : -1;
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
  if (!parse_slow(column.spec, p, size)) return false;
  if (scratch_.kind == 0) {
    *valid = false;
    return true;
  }
  if (column.spec.shape == Shape::kFixedList && static_cast<int64_t>(scratch_.size()) != column.spec.list_size) {
    code_ = FaultCode::kMismatch;
    reason_ = "feature '" + column.spec.name + "' has " + std::to_string(scratch_.size()) + " values, the schema takes exactly " +
              std::to_string(column.spec.list_size);
    return false;
  }
  push_slow(values);
  return true;
}

bool Decoder::absent(Column& column) {
  if (column.spec.has_default) {
    column.push_default();
    return true;
  }
  code_ = FaultCode::kMismatch;
  reason_ = "feature '" + column.spec.name + "' is missing, and the schema requires it and gives no default";
  return false;
}

bool Decoder::parse_slow(const FieldSpec& spec, const uint8_t* p, size_t size) {
  if (!parse_feature(p, p + size, &scratch_)) {
    code_ = FaultCode::kMalformed;
    reason_ = "feature '" + spec.name + "' is not a tf.Feature";
    return false;
  }
  if (scratch_.kind != 0 && scratch_.kind != feature_field(spec.kind)) {
    code_ = FaultCode::kMismatch;
    reason_ = "feature '" + spec.name + "' holds " + kind_name(scratch_.kind) + ", the schema says " + kind_name(feature_field(spec.kind));
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
