#include "encoder/encoder.h"

#include <stdexcept>

#include "framing/crc32c.h"
#include "decoder/feature.h"
#include "framing/framing.h"
#include "decoder/wire.h"

namespace fullpass {
namespace {

template <typename T>
const T* buffer(const ArrowArray* array, int which) {
  return static_cast<const T*>(array->buffers[which]) + array->offset;
}

inline Span bytes_at(const ArrowArray* array, int64_t index) {
  const int32_t* offsets = buffer<int32_t>(array, 1) + index;
  return {static_cast<const uint8_t*>(array->buffers[2]) + offsets[0], static_cast<size_t>(offsets[1] - offsets[0])};
}

inline Span text_at(const ArrowArray* values, const ArrowArray* dictionary, int64_t index) {
  return dictionary ? bytes_at(dictionary, buffer<int32_t>(values, 1)[index]) : bytes_at(values, index);
}

inline void store_u32(uint8_t* out, uint32_t value) { std::memcpy(out, &value, 4); }

Kind kind_of(const ArrowSchema* schema, const char* column) {
  const std::string format = schema->format;
  if (schema->dictionary) {
    if (format == "i" && std::string(schema->dictionary->format) == "z") return Kind::kBytes;
  } else if (format == "l") {
    return Kind::kInt64;
  } else if (format == "f") {
    return Kind::kFloat;
  } else if (format == "z") {
    return Kind::kBytes;
  }
  throw std::invalid_argument("column '" + std::string(column) + "' has Arrow format '" + format +
                              "'; tf.Example takes int64, float32, binary and lists of those");
}

}  // namespace

Encoder::Encoder(const ArrowSchema* schema, const ArrowArray* batch, const ListKeys& lists) : offset_(batch->offset) {
  for (int64_t i = 0; i < schema->n_children; ++i) {
    const auto column = static_cast<size_t>(i);
    if (column < lists.size() && lists[column]) {
      lists_.push_back(make_frames(schema->children[i], batch->children[i], *lists[column]));
      continue;
    }
    sources_.push_back(make_source(schema->children[i], batch->children[i], schema->children[i]->name));
    room_ += sources_.back().head.size() + 160;
  }
}

Encoder::Source Encoder::make_source(const ArrowSchema* schema, const ArrowArray* array, const std::string& key) {
  Source source{};
  const std::string format = schema->format;
  source.array = source.values = array;
  const ArrowSchema* value_schema = schema;
  source.layout = Layout::kScalar;
  if (format == "+l" || format == "+L" || format.rfind("+w:", 0) == 0) {
    source.layout = format == "+l" ? Layout::kList : format == "+L" ? Layout::kLargeList : Layout::kFixedList;
    if (source.layout == Layout::kFixedList) source.list_size = std::stoll(format.substr(3));
    value_schema = schema->children[0];
    source.values = array->children[0];
  }
  source.kind = kind_of(value_schema, key.c_str());
  source.dictionary = value_schema->dictionary ? source.values->dictionary : nullptr;
  source.head.push_back('\x0a');
  uint8_t length[10];
  source.head.append(reinterpret_cast<char*>(length), write_varint(length, key.size()) - length);
  source.head.append(key);
  source.head.push_back('\x12');
  source.valid = static_cast<const uint8_t*>(array->buffers[0]);
  source.valid_offset = array->offset;
  set_scalars(source, key.c_str());
  return source;
}

// Short scalars are written from tables; everything else, and what turns out to be long, is sized first.
void Encoder::set_scalars(Source& source, const char* key) {
  if (source.layout != Layout::kScalar || source.dictionary || !source.array->length) return;
  source.prefix = Prefix(key, source.kind);
  if (source.kind == Kind::kInt64) {
    source.ints = buffer<int64_t>(source.array, 1);
  } else if (source.kind == Kind::kFloat) {
    source.floats = buffer<uint32_t>(source.array, 1);
  } else {
    source.offsets = buffer<int32_t>(source.array, 1);
    source.bytes = static_cast<const uint8_t*>(source.array->buffers[2]);
    source.bytes_end = source.offsets[source.array->length];
  }
}

void Encoder::range(const Source& source, int64_t row, int64_t* begin, int64_t* end) {
  switch (source.layout) {
    case Layout::kScalar:
      *begin = row;
      *end = row + 1;
      return;
    case Layout::kList: {
      const int32_t* offsets = buffer<int32_t>(source.array, 1) + row;
      *begin = offsets[0];
      *end = offsets[1];
      return;
    }
    case Layout::kLargeList: {
      const int64_t* offsets = buffer<int64_t>(source.array, 1) + row;
      *begin = offsets[0];
      *end = offsets[1];
      return;
    }
    case Layout::kFixedList:
      *begin = (source.array->offset + row) * source.list_size;
      *end = *begin + source.list_size;
      return;
  }
}

// Bytes of the BytesList, FloatList or Int64List message.
size_t Encoder::list_bytes(const Source& source, int64_t begin, int64_t end) {
  if (begin == end) return 0;
  size_t size = 0;
  if (source.kind == Kind::kBytes) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t length = text_at(source.values, source.dictionary, i).size;
      size += 1 + varint_size(length) + length;
    }
    return size;
  }
  if (source.kind == Kind::kFloat) {
    size = static_cast<size_t>(end - begin) * 4;
  } else {
    const int64_t* values = buffer<int64_t>(source.values, 1);
    for (int64_t i = begin; i < end; ++i) size += varint_size(static_cast<uint64_t>(values[i]));
  }
  return 1 + varint_size(size) + size;
}

uint8_t* Encoder::write_list(const Source& source, int64_t begin, int64_t end, size_t bytes, uint8_t* out) {
  if (begin == end) return out;
  if (source.kind == Kind::kBytes) {
    for (int64_t i = begin; i < end; ++i) {
      const Span text = text_at(source.values, source.dictionary, i);
      *out++ = 0x0a;
      out = write_varint(out, text.size);
      if (text.size) std::memcpy(out, text.data, text.size);
      out += text.size;
    }
    return out;
  }
  *out++ = 0x0a;
  if (source.kind == Kind::kFloat) {
    const size_t size = static_cast<size_t>(end - begin) * 4;
    out = write_varint(out, size);
    std::memcpy(out, buffer<float>(source.values, 1) + begin, size);
    return out + size;
  }
  // The packed length follows from the message's: one tag byte and the varint that makes up the rest.
  size_t size = bytes - 2;
  while (1 + varint_size(size) + size != bytes) --size;
  out = write_varint(out, size);
  const int64_t* values = buffer<int64_t>(source.values, 1);
  for (int64_t i = begin; i < end; ++i) out = write_varint(out, static_cast<uint64_t>(values[i]));
  return out;
}

// Writes a feature of one short value, or returns null where it is not one.
inline uint8_t* Encoder::write_short(const Source& source, int64_t index, uint8_t* out) {
  const Prefix& prefix = source.prefix;
  if (!prefix.words) return nullptr;
  if (source.kind == Kind::kFloat) {
    out = prefix.write(out, 4);
    std::memcpy(out, source.floats + index, 4);
    return out + 4;
  }
  if (source.kind == Kind::kInt64) {
    const auto value = static_cast<uint64_t>(source.ints[index]);
    return write_varint(prefix.write(out, varint_size(value)), value);
  }
  const int32_t begin = source.offsets[index];
  const auto size = static_cast<uint32_t>(source.offsets[index + 1] - begin);
  if (size > prefix.most) return nullptr;
  out = prefix.write(out, size);
  if (size <= 16 && begin + 16 <= source.bytes_end) {
    std::memcpy(out, source.bytes + begin, 16);
  } else if (size) {
    std::memcpy(out, source.bytes + begin, size);
  }
  return out + size;
}

// Writes a feature of any shape at `at`, makes room for `room` bytes behind it, and returns where they begin.
uint8_t* Encoder::write_entry(const Source& source, int64_t index, size_t room, Buffer* out, uint8_t* at) {
  int64_t begin, end;
  range(source, index, &begin, &end);
  const size_t list = list_bytes(source, begin, end);
  const size_t feature = 1 + varint_size(list) + list;
  const size_t entry = source.head.size() + varint_size(feature) + feature;
  const auto written = static_cast<size_t>(at - out->end());
  out->reserve(written + entry + 16 + room);
  uint8_t* p = out->end() + written;
  *p++ = 0x0a;
  p = write_varint(p, entry);
  std::memcpy(p, source.head.data(), source.head.size());
  p += source.head.size();
  p = write_varint(p, feature);
  *p++ = feature_tag(source.kind);
  p = write_varint(p, list);
  return write_list(source, begin, end, list, p);
}

void Encoder::encode(int64_t begin, int64_t end, Buffer* out) const {
  std::vector<size_t> sizes;
  size_t width = 2;  // of the varint that says how long all features are: guessed from the record before, then filled in
  for (int64_t row = begin; row < end; ++row) {
    const int64_t index = offset_ + row;
    out->reserve(room_);
    uint8_t* p = out->end() + kHeaderBytes + 1 + width;
    for (const Source& source : sources_) {
      if (is_null(source, index)) continue;
      uint8_t* next = write_short(source, index, p);
      p = next ? next : write_entry(source, index, room_, out, p);
    }
    uint8_t* start = out->end();
    uint8_t* body = start + kHeaderBytes + 1 + width;
    const auto features = static_cast<size_t>(p - body);
    const size_t needed = varint_size(features);
    if (needed != width) {
      std::memmove(body + needed - width, body, features);
      p += needed - width;
      width = needed;
    }
    uint64_t payload = 1 + width + features;
    const size_t lists = lists_.empty() ? 0 : lists_bytes(index, &sizes);
    if (lists) payload += 1 + varint_size(lists) + lists;
    if (payload > kMaxRecordBytes) throw std::invalid_argument("a record takes more than 2 GiB");
    if (lists) {
      const auto written = p - start;
      out->reserve(kHeaderBytes + payload + kFooterBytes);
      start = out->end();
      p = start + written;
      *p++ = 0x12;
      p = write_lists(index, sizes, write_varint(p, lists));
    }
    start[kHeaderBytes] = 0x0a;
    write_varint(start + kHeaderBytes + 1, features);
    std::memcpy(start, &payload, 8);
    store_u32(start + 8, masked_crc32c(start, 8));
    store_u32(p, masked_crc32c(start + kHeaderBytes, payload));
    out->set_size(out->size() + kHeaderBytes + payload + kFooterBytes);
  }
}

}  // namespace fullpass
