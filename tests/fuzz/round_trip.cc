#include "round_trip.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>

#include "decoder/decoder.h"
#include "encoder/encoder.h"
#include "feed/feed_pack.h"
#include "feed/plain_columns.h"
#include "framing/framing.h"

namespace fullpass {
namespace {

// Arrow schemas for the encoder, which owns nothing.
struct Schemas {
  std::deque<ArrowSchema> all;
  std::deque<std::string> texts;
  std::deque<std::vector<ArrowSchema*>> children;

  ArrowSchema* make(const std::string& format, const std::string& name, std::vector<ArrowSchema*> below = {}) {
    texts.push_back(format);
    const char* kept = texts.back().c_str();
    texts.push_back(name);
    children.push_back(std::move(below));
    all.push_back(ArrowSchema{});
    ArrowSchema* schema = &all.back();
    schema->format = kept;
    schema->name = texts.back().c_str();
    schema->n_children = static_cast<int64_t>(children.back().size());
    schema->children = children.back().data();
    return schema;
  }
  ArrowSchema* values(const FieldSpec& spec, const std::string& name) {
    const bool dictionary = spec.dictionary && spec.kind == Kind::kBytes;
    ArrowSchema* schema = make(dictionary ? "i" : spec.kind == Kind::kInt64 ? "l" : spec.kind == Kind::kFloat ? "f" : "z", name);
    if (dictionary) schema->dictionary = make("z", "");
    return schema;
  }
  ArrowSchema* frame(const FieldSpec& spec) {
    if (spec.shape == Shape::kFrames) return values(spec, "item");
    const std::string format = spec.shape == Shape::kFixedFrames ? "+w:" + std::to_string(spec.list_size) : "+l";
    return make(format, "item", {values(spec, "item")});
  }
  ArrowSchema* column(const FieldSpec& spec) {
    if (is_scalar(spec.shape)) return values(spec, spec.name);
    if (has_frames(spec.shape)) return make("+l", spec.name, {frame(spec)});
    const std::string format = is_fixed(spec.shape) ? "+w:" + std::to_string(spec.list_size) : "+l";
    return make(format, spec.name, {values(spec, "item")});
  }
};

// One value in words that tell it from any other.
std::string value_text(const ArrowArray* values, const FieldSpec& spec, int64_t at) {
  at += values->offset;
  if (spec.kind != Kind::kBytes) {
    const size_t width = spec.kind == Kind::kFloat ? 4 : 8;
    return std::string(static_cast<const char*>(values->buffers[1]) + static_cast<size_t>(at) * width, width);
  }
  if (values->dictionary) {
    at = static_cast<const int32_t*>(values->buffers[1])[at];
    values = values->dictionary;
  }
  const auto* offsets = static_cast<const int32_t*>(values->buffers[1]) + at;
  return std::to_string(offsets[1] - offsets[0]) + ":" +
         std::string(static_cast<const char*>(values->buffers[2]) + offsets[0], static_cast<size_t>(offsets[1] - offsets[0]));
}

std::string list_text(const ArrowArray* lists, const FieldSpec& spec, bool fixed, int64_t row) {
  const int64_t at = lists->offset + row;
  int64_t begin = at * spec.list_size, end = begin + spec.list_size;
  if (!fixed) {
    begin = static_cast<const int32_t*>(lists->buffers[1])[at];
    end = static_cast<const int32_t*>(lists->buffers[1])[at + 1];
  }
  std::string text = "[";
  for (int64_t i = begin; i < end; ++i) text += value_text(lists->children[0], spec, i) + ",";
  return text + "]";
}

std::string row_text(const ArrowArray* column, const FieldSpec& spec, int64_t row) {
  const int64_t at = column->offset + row;
  const auto* valid = static_cast<const uint8_t*>(column->buffers[0]);
  if (column->null_count && valid && !(valid[at / 8] >> (at % 8) & 1)) return "null";
  if (is_scalar(spec.shape)) return value_text(column, spec, row);
  if (!has_frames(spec.shape) || spec.shape == Shape::kFrames) return list_text(column, spec, is_fixed(spec.shape), row);
  const auto* offsets = static_cast<const int32_t*>(column->buffers[1]) + at;
  std::string text = "[";
  for (int64_t i = offsets[0]; i < offsets[1]; ++i)
    text += list_text(column->children[0], spec, spec.shape == Shape::kFixedFrames, i) + ",";
  return text;
}

// Packs what the feed takes as it lies in memory, and compares it with the values one by one.
void check_packed(const ArrowSchema& schema, const ArrowArray& batch, const std::vector<FieldSpec>& specs) {
  for (size_t i = 0; i < specs.size(); ++i) {
    const FieldSpec& spec = specs[i];
    const bool fixed = spec.shape != Shape::kFixedFrames && is_fixed(spec.shape), single = is_scalar(spec.shape);
    const size_t item = spec.kind == Kind::kFloat ? 4 : 8, width = fixed ? static_cast<size_t>(spec.list_size) : 1;
    const uint8_t* values = plain_values(schema, batch, {i, spec.name, item, 1, width}, i);
    const ArrowArray* column = batch.children[i];
    const bool plain = (fixed || single) && width && spec.kind != Kind::kBytes && !column->null_count && batch.length;
    if (plain && !values) std::abort();
    if (!values) continue;
    if (!fixed && !single) std::abort();
    const size_t slots = width + 2, rows = static_cast<size_t>(batch.length);
    std::vector<uint8_t> packed(rows * slots * item);
    pack_rows({{values, 1, width}}, rows, slots, item, packed.data());
    for (size_t row = 0; row < rows; ++row) {
      std::string text = fixed ? "[" : "";
      for (size_t j = 0; j < width; ++j) {
        text.append(reinterpret_cast<const char*>(packed.data()) + (row * slots + 1 + j) * item, item);
        if (fixed) text += ",";
      }
      if (fixed) text += "]";
      if (text != row_text(column, spec, static_cast<int64_t>(row))) std::abort();
    }
  }
}

}  // namespace

uint64_t round_trip(const std::vector<FieldSpec>& specs, const ArrowArray* batch, int64_t skip, uint64_t seed) {
  Schemas schemas;
  std::vector<FieldSpec> kept;
  Encoder::ListKeys lists;
  std::deque<ArrowArray> columns;  // those of the batch, from row `skip` on, as Arrow slices
  std::vector<ArrowArray*> children;
  std::vector<ArrowSchema*> fields;
  int64_t column = 0;
  for (const FieldSpec& spec : specs) {
    if (!spec.selected) continue;
    const ArrowArray* array = batch->children[column++];
    lists.push_back(has_frames(spec.shape) ? std::optional<std::string>(spec.name) : std::nullopt);
    kept.push_back(spec);
    columns.push_back(*array);
    columns.back().offset = skip;
    columns.back().length = batch->length - skip;
    children.push_back(&columns.back());
    fields.push_back(schemas.column(spec));
  }
  ArrowArray sliced{};
  sliced.length = batch->length - skip;
  sliced.n_children = static_cast<int64_t>(children.size());
  sliced.children = children.data();
  ArrowSchema* schema = schemas.make("+s", "", fields);
  check_packed(*schema, sliced, kept);

  Buffer out;
  const Encoder encoder(schema, &sliced, lists);
  for (int64_t row = 0; row < sliced.length;) {
    const int64_t stop = std::min<int64_t>(sliced.length, row + 1 + static_cast<int64_t>(seed % 97));
    encoder.encode(row, stop, &out);
    row = stop;
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  }
  // An exact heap allocation, as for the first decoding.
  std::unique_ptr<uint8_t[]> exact(new uint8_t[out.size() ? out.size() : 1]);
  if (out.size()) std::memcpy(exact.get(), out.data(), out.size());
  std::vector<Record> records;
  scan_records(exact.get(), 0, out.size(), out.size() + 1, 1u << 20, 1u << 30, records);
  Decoder decoder(kept, {true, true, false});
  decoder.decode(exact.get(), out.size(), records.data(), 0, static_cast<int64_t>(records.size()));
  if (decoder.rows() != sliced.length || !decoder.faults().empty()) std::abort();
  ArrowArray* again = decoder.finish();
  for (size_t i = 0; i < kept.size(); ++i)
    for (int64_t row = 0; row < sliced.length; ++row)
      if (row_text(children[i], kept[i], row) != row_text(again->children[i], kept[i], row)) std::abort();
  again->release(again);
  delete again;
  return static_cast<uint64_t>(sliced.length);
}

}  // namespace fullpass
