#include "decoder/decoder.h"

#include <algorithm>

#include "framing/crc32c.h"

namespace fullpass {
namespace {

bool any_frames(const std::vector<FieldSpec>& fields) {
  return std::any_of(fields.begin(), fields.end(), [](const FieldSpec& field) { return has_frames(field.shape); });
}

}  // namespace

Decoder::Decoder(const std::vector<FieldSpec>& fields, DecodeOptions options)
    : fields_(fields),
      options_(options),
      keys_(fields, false),
      lists_(fields, true),
      frames_(any_frames(fields)),
      read_lists_(frames_ || options.strict) {
  for (const FieldSpec& field : fields_)
    if (field.selected) columns_.emplace_back(field);
  slots_.resize(columns_.size() * kBlock);
}

void Decoder::fault(FaultCode code, const Item& item, std::string message) {
  faults_.push_back({code, item.record, std::move(message)});
}

// Returns whether the payload's checksum holds; where not, that is a fault.
bool Decoder::verify(const Item& item) {
  if (!options_.verify || masked_crc32c(item.payload, item.size) == load_u32(item.payload + item.size)) return true;
  fault(FaultCode::kChecksum, item, "the payload's checksum does not hold");
  return false;
}

void Decoder::decode(const uint8_t* data, size_t size, const Record* records, int64_t first, int64_t count) {
  readable_ = data + size;
  int patience = 1;  // records decoded in the general way before the usual one is tried again
  for (int64_t at = 0; at < count;) {
    const int usual = decode_usual(data, records, first + at, count - at);
    at += usual;
    patience = usual >= kBlock / 4 ? 1 : std::min(2 * patience, kBlock);
    if (usual == kBlock) continue;
    int rows = 0;
    for (; rows < patience && at < count; ++at) {
      const Item item{data + records[first + at].offset, records[first + at].size, first + at};
      if (verify(item)) {
        block_[rows++] = item;
      } else if (!options_.skip) {
        return;
      }
    }
    if (!decode_general(rows)) return;
  }
}

// Decodes records by the plan, up to the first that is not as planned, whatever is the matter with it; returns how many.
int Decoder::decode_usual(const uint8_t* data, const Record* records, int64_t first, int64_t count) {
  const KeyIndex* lists = read_lists_ ? &lists_ : nullptr;
  if (plan_.version() != keys_.version() + (lists ? lists->version() : 0)) plan_.learn(keys_, lists, columns_, options_.strict);
  base_ = data + records[first].offset - 1;  // so that no offset is 0
  plan_.begin(columns_, slots_.data(), base_);
  int rows = 0;
  for (; rows < kBlock && rows < count; ++rows) {
    const Record& record = records[first + rows];
    const uint8_t* payload = data + record.offset;
    if (options_.verify && masked_crc32c(payload, record.size) != load_u32(payload + record.size)) break;
    if (!plan_.add(payload, record.size, rows, readable_)) break;
  }
  if (!rows || !fill_slotted(rows)) return 0;
  plan_.commit(columns_, rows);
  rows_ += rows;
  return rows;
}

// Fills the columns that are no part of the plan's one pass, or none of them.
bool Decoder::fill_slotted(int count) {
  marks_.clear();
  for (const size_t index : plan_.slotted()) marks_.push_back(columns_[index].mark());
  for (const size_t index : plan_.slotted()) {
    int bad = 0;
    if (fill_column(index, count, &bad)) continue;
    for (size_t i = 0; i < marks_.size(); ++i) columns_[plan_.slotted()[i]].rollback(marks_[i]);
    return false;
  }
  return true;
}

// Decodes what block_ holds; false where a fault ends it.
bool Decoder::decode_general(int rows) {
  while (rows && !decode_block(rows)) {
    // The last fault names a record of this block: leave that out and fill the block anew.
    if (!options_.skip) return false;
    int kept = 0;
    for (int row = 0; row < rows; ++row)
      if (block_[row].record != faults_.back().record) block_[kept++] = block_[row];
    rows = kept;
  }
  return true;
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

// Walks Example{features = 1} or SequenceExample{context = 1, feature_lists = 2}, which in the former is an unknown field.
bool Decoder::find_features(const Item& item, int row) {
  keys_.rewind();
  lists_.rewind();
  const uint8_t* p = item.payload;
  const uint8_t* end = p + item.size;
  code_ = FaultCode::kMalformed;
  reason_ = frames_ ? "the payload is not a tf.SequenceExample" : "the payload is not a tf.Example";
  while (p < end) {
    uint32_t field, type;
    if (!read_tag(&p, end, &field, &type)) return false;
    if (type != kDelimited || field > (read_lists_ ? 2 : 1)) {
      if (!skip_value(&p, end, field, type)) return false;
      continue;
    }
    size_t length;
    if (!read_length(&p, end, &length)) return false;
    if (!find_entries(field == 1 ? keys_ : lists_, p, p + length, row)) return false;
    p += length;
  }
  return true;
}

// Walks Features{feature = 1{key = 1, value = 2}}, or FeatureLists likewise, and notes where each wanted value lies; the last wins.
bool Decoder::find_entries(KeyIndex& keys, const uint8_t* p, const uint8_t* end, int row) {
  while (p < end) {
    if (*p == 0x0a) {
      ++p;
    } else {
      uint32_t field, type;
      if (!read_tag(&p, end, &field, &type)) return false;
      if (field != 1 || type != kDelimited) {
        if (!skip_value(&p, end, field, type)) return false;
        continue;
      }
    }
    size_t length;
    if (!read_length(&p, end, &length)) return false;
    if (!find_entry(keys, p, p + length, row)) return false;
    p += length;
  }
  return true;
}

bool Decoder::find_entry(KeyIndex& keys, const uint8_t* p, const uint8_t* end, int row) {
  Span value{end, 0};
  const uint8_t* at = p;
  int column = keys.predict(&at, end, readable_);
  if (column != kNotFound) {
    size_t length;
    if (read_length(&at, end, &length) && at + length == end) {
      value = {at, length};
    } else {
      column = kNotFound;
    }
  }
  if (column == kNotFound) column = read_entry(keys, p, end, &value);
  if (column >= 0) {
    const auto offset = static_cast<uint32_t>(value.data - base_);
    slots_[static_cast<size_t>(column) * kBlock + row] = {offset, static_cast<uint32_t>(value.size)};
    return true;
  }
  return column == kSkipped || (column == kUnknown && !options_.strict);
}

// An entry in any shape: key and value in either order, absent, repeated, among unknown fields.
int Decoder::read_entry(KeyIndex& keys, const uint8_t* p, const uint8_t* end, Span* value) {
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
  const int column = keys.find(key.data, key.size);
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

ArrowArray* Decoder::finish(bool more) {
  std::vector<std::pair<size_t, size_t>> sizes;  // the next batch will need about as much
  for (const Column& column : columns_) sizes.emplace_back(column.values.data.size(), column.values.offsets.size());
  ArrowArray* batch = export_batch(columns_, rows_);
  columns_.clear();
  size_t at = 0;
  for (const FieldSpec& field : fields_) {
    if (!field.selected) continue;
    columns_.emplace_back(field);
    if (more) {
      columns_.back().values.data.reserve(sizes[at].first + sizes[at].first / 16 + kBlock * 160);
      columns_.back().values.offsets.reserve(sizes[at].second + 256);
    }
    ++at;
  }
  rows_ = 0;
  faults_.clear();
  return batch;
}

}  // namespace fullpass
