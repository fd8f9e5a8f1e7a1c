#include "decoder.h"

#include "crc32c.h"

namespace fullpass {

Decoder::Decoder(const std::vector<FieldSpec>& fields, DecodeOptions options)
    : fields_(fields), options_(options), keys_(fields) {
  for (const FieldSpec& field : fields_)
    if (field.selected) columns_.emplace_back(field);
  slots_.resize(columns_.size() * kBlock);
}

void Decoder::fault(FaultCode code, const Item& item, std::string message) {
  faults_.push_back({code, item.record, std::move(message)});
}

void Decoder::decode(const uint8_t* data, size_t size, const Record* records, int64_t first, int64_t count) {
  readable_ = data + size;
  for (int64_t at = 0; at < count;) {
    int rows = 0;
    for (; rows < kBlock && at < count; ++at) {
      const Record& record = records[first + at];
      Item item{data + record.offset, record.size, first + at};
      if (options_.verify && masked_crc32c(item.payload, item.size) != load_u32(item.payload + item.size)) {
        fault(FaultCode::kChecksum, item, "the payload's checksum does not hold");
        if (!options_.skip) return;
        continue;
      }
      block_[rows++] = item;
    }
    while (rows && !decode_block(rows)) {
      // The last fault names a record of this block: leave that out and fill the block anew.
      if (!options_.skip) return;
      int kept = 0;
      for (int row = 0; row < rows; ++row)
        if (block_[row].record != faults_.back().record) block_[kept++] = block_[row];
      rows = kept;
    }
  }
}

bool Decoder::decode_block(int count) {
  if (!slots_.empty()) std::memset(static_cast<void*>(slots_.data()), 0, slots_.size() * sizeof(Slot));
  base_ = block_[0].payload - 1;  // so that no offset is 0
  for (int row = 0; row < count; ++row) {
    if (find_features(block_[row], row)) continue;
    fault(code_, block_[row], reason_);
    return false;
  }
  marks_.clear();
  for (const Column& column : columns_) marks_.push_back(column.mark());
  for (size_t index = 0; index < columns_.size(); ++index) {
    int bad = 0;
    if (fill_column(index, count, &bad)) continue;
    fault(code_, block_[bad], reason_);
    for (size_t i = 0; i < columns_.size(); ++i) columns_[i].rollback(marks_[i]);
    return false;
  }
  rows_ += count;
  return true;
}

// Walks Example{features = 1{feature = 1{key = 1, value = 2}}} and notes where each wanted value lies; the last wins.
bool Decoder::find_features(const Item& item, int row) {
  keys_.rewind();
  const uint8_t* p = item.payload;
  const uint8_t* end = p + item.size;
  code_ = FaultCode::kMalformed;
  reason_ = "the payload is not a tf.Example";
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    if (field != 1 || type != kDelimited) {
      if (!skip_value(&p, end, field, type)) return false;
      continue;
    }
    size_t length;
    if (!read_length(&p, end, &length)) return false;
    const uint8_t* stop = p + length;
    while (p < stop) {
      if (*p == 0x0a) {
        ++p;
      } else {
        if (!read_tag(&p, stop, &field, &type)) return false;
        if (field != 1 || type != kDelimited) {
          if (!skip_value(&p, stop, field, type)) return false;
          continue;
        }
      }
      if (!read_length(&p, stop, &length)) return false;
      if (!find_entry(p, p + length, row)) return false;
      p += length;
    }
  }
  return true;
}

bool Decoder::find_entry(const uint8_t* p, const uint8_t* end, int row) {
  Span value{end, 0};
  const uint8_t* at = p;
  int column = keys_.predict(&at, end, readable_);
  if (column != kNotFound) {
    size_t length;
    if (read_length(&at, end, &length) && at + length == end) {
      value = {at, length};
    } else {
      column = kNotFound;
    }
  }
  if (column == kNotFound) column = read_entry(p, end, &value);
  if (column >= 0) {
    const auto offset = static_cast<uint32_t>(value.data - base_);
    slots_[static_cast<size_t>(column) * kBlock + row] = {offset, static_cast<uint32_t>(value.size)};
    return true;
  }
  return column == kSkipped || (column == kUnknown && !options_.strict);
}

// An entry in any shape: key and value in either order, absent, repeated, among unknown fields.
int Decoder::read_entry(const uint8_t* p, const uint8_t* end, Span* value) {
  Span key{p, 0};
  int values = 0;
  *value = {end, 0};
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return kNotFound;
    if (field == 1 && type == kDelimited) {
      if (!read_span(&p, end, &key.data, &key.size)) return kNotFound;
    } else if (field == 2 && type == kDelimited) {
      if (!read_span(&p, end, &value->data, &value->size)) return kNotFound;
      ++values;
    } else if (!skip_value(&p, end, field, type)) {
      return kNotFound;
    }
  }
  const int column = keys_.find(key.data, key.size);
  if (column == kUnknown && options_.strict) {
    code_ = FaultCode::kUnknownFeature;
    reason_ = std::string(reinterpret_cast<const char*>(key.data), key.size < 200 ? key.size : 200);
  }
  if (values > 1) {  // protobuf merges them: a rare shape, refused by TensorFlow's own parser
    code_ = FaultCode::kMalformed;
    reason_ = "a feature's map entry holds its value more than once";
    return column >= 0 ? kNotFound : column;
  }
  return column;
}

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

ArrowArray* Decoder::finish() {
  ArrowArray* batch = export_batch(columns_, rows_);
  columns_.clear();
  for (const FieldSpec& field : fields_)
    if (field.selected) columns_.emplace_back(field);
  rows_ = 0;
  faults_.clear();
  return batch;
}

}  // namespace fullpass
