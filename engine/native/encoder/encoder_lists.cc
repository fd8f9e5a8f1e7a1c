// The feature lists of a tf.SequenceExample: FeatureLists{feature_list = 1{key = 1, value = 2{feature = 1 for each frame}}}.
#include <limits>
#include <stdexcept>

#include "encoder/encoder.h"
#include "decoder/feature.h"
#include "decoder/wire.h"

namespace fullpass {
namespace {

constexpr size_t kNoValues = std::numeric_limits<size_t>::max();  // of a frame that is null: a feature without a kind

size_t feature_bytes(size_t list) { return list == kNoValues ? 0 : 1 + varint_size(list) + list; }

size_t with_length(size_t size) { return varint_size(size) + size; }

}  // namespace

Encoder::FrameColumn Encoder::make_frames(const ArrowSchema* schema, const ArrowArray* array, const std::string& key) {
  if (std::string(schema->format) != "+l")
    throw std::invalid_argument("column '" + key + "' has Arrow format '" + schema->format + "'; a feature list takes a list");
  FrameColumn column{};
  column.frames.layout = Layout::kList;
  column.frames.array = array;
  column.frames.valid = static_cast<const uint8_t*>(array->buffers[0]);
  column.frames.valid_offset = array->offset;
  column.values = make_source(schema->children[0], array->children[0], key);
  return column;
}

size_t Encoder::lists_bytes(int64_t index, std::vector<size_t>* sizes) const {
  sizes->clear();
  size_t total = 0;
  for (const FrameColumn& column : lists_) {
    if (is_null(column.frames, index)) continue;
    const size_t place = sizes->size();
    sizes->push_back(0);
    int64_t frame, last;
    size_t frames = 0;
    for (range(column.frames, index, &frame, &last); frame < last; ++frame) {
      size_t list = kNoValues;
      if (!is_null(column.values, frame)) {
        int64_t begin, end;
        range(column.values, frame, &begin, &end);
        list = list_bytes(column.values, begin, end);
      }
      sizes->push_back(list);
      frames += 1 + with_length(feature_bytes(list));
    }
    (*sizes)[place] = frames;
    total += 1 + with_length(column.values.head.size() + with_length(frames));
  }
  return total;
}

uint8_t* Encoder::write_lists(int64_t index, const std::vector<size_t>& sizes, uint8_t* out) const {
  const size_t* size = sizes.data();
  for (const FrameColumn& column : lists_) {
    if (is_null(column.frames, index)) continue;
    const Source& values = column.values;
    const size_t frames = *size++;
    *out++ = 0x0a;
    out = write_varint(out, values.head.size() + with_length(frames));
    std::memcpy(out, values.head.data(), values.head.size());
    out = write_varint(out + values.head.size(), frames);
    int64_t frame, last;
    for (range(column.frames, index, &frame, &last); frame < last; ++frame) {
      const size_t list = *size++;
      *out++ = 0x0a;
      out = write_varint(out, feature_bytes(list));
      if (list == kNoValues) continue;
      int64_t begin, end;
      range(values, frame, &begin, &end);
      *out++ = feature_tag(values.kind);
      out = write_list(values, begin, end, list, write_varint(out, list));
    }
  }
  return out;
}

}  // namespace fullpass
