// Feeds mutated tf.Examples, tf.SequenceExamples and TFRecord framing to the codec under AddressSanitizer and
// UndefinedBehaviorSanitizer; what it decodes is encoded again, and must decode to the same.
// usage: decoder_fuzz RUNS SEED. Ends with the number of runs, or is stopped by a sanitizer at the first finding.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "framing/crc32c.h"
#include "decoder/decoder.h"
#include "framing/framing.h"
#include "decoder/inference.h"
#include "round_trip.h"
#include "span_reads.h"

using namespace fullpass;

namespace {

using Bytes = std::string;
std::mt19937_64 rng;

uint64_t below(uint64_t n) { return n ? rng() % n : 0; }

Bytes varint(uint64_t value) {
  Bytes out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}

Bytes delimited(uint32_t field, const Bytes& body) { return varint(field << 3 | 2) + varint(body.size()) + body; }

// Records alike, as writers make them, with few mutations: the decoder's quick way is only taken by those.
bool orderly = false;

uint64_t rarely(uint64_t n) { return below(orderly ? n * 40 : n); }

// Structured mutations happen while a message is built: wrong tags, lengths that lie, parts left out or repeated.
Bytes lying(uint32_t field, const Bytes& body) {
  switch (rarely(400)) {
    case 0:
      return varint(field << 3 | 2) + varint(body.size() + below(5) - 2) + body;
    case 1:
      return varint(field << 3 | below(8)) + varint(body.size()) + body;
    case 2:
      return varint(below(40) << 3 | 2) + varint(body.size()) + body;
    case 3:
      return delimited(field, body) + delimited(field, body);
    case 4:
      return varint(field << 3 | 2) + varint(rng()) + body;
    case 5:
      return Bytes();
    default:
      return delimited(field, body);
  }
}

// Mostly what the schema wants of this column, so that decoding goes deep; else anything.
Bytes feature(const FieldSpec* spec) {
  Bytes body;
  const bool fitting = spec && rarely(25);
  auto count = below(5);
  if (fitting && spec->shape != Shape::kList && spec->shape != Shape::kVarFrames) count = is_fixed(spec->shape) ? spec->list_size : 1;
  const bool packed = orderly || below(2);
  const auto kind = static_cast<uint32_t>(fitting ? feature_field(spec->kind) : 1 + below(3));
  Bytes run;
  for (uint64_t i = 0; i < count; ++i) {
    if (kind == 1) {
      body += lying(1, Bytes(below(below(20) ? 30 : 300), static_cast<char>(rng())));
    } else if (kind == 2) {
      Bytes value(4, static_cast<char>(rng()));
      packed ? run += value : body += "\x0d" + value;
    } else {
      packed ? run += varint(rng() >> below(64)) : body += "\x08" + varint(rng() >> below(64));
    }
  }
  if (packed && kind != 1) body += lying(1, run);
  Bytes out = lying(kind, body);
  if (!rarely(40)) out += feature(spec);
  return out;
}

const char* const kKeys[] = {"int",     "float",   "bytes", "ints",  "floats", "texts", "two", "frames",
                             "skipped", "unknown", "",      "steps", "a_long_key_that_spans_words"};
constexpr uint64_t kNumKeys = sizeof(kKeys) / sizeof(*kKeys);

// FeatureList{feature = 1}, with frames that fit mostly, and unknown fields between them rarely.
Bytes feature_list(const FieldSpec* spec) {
  Bytes out;
  for (uint64_t frames = below(below(10) ? 5 : 40); frames; --frames) {
    out += lying(1, feature(spec));
    if (!rarely(60)) out += Bytes("\x12\x02xy\x18\x07", 6);
  }
  return out;
}

// Features, or FeatureLists: the entries of a message.
Bytes entries(const std::vector<FieldSpec>& specs, bool lists) {
  std::vector<const FieldSpec*> mine;
  for (const FieldSpec& spec : specs)
    if (has_frames(spec.shape) == lists) mine.push_back(&spec);
  Bytes out;
  const bool in_order = orderly || below(3);
  const auto count = in_order ? mine.size() : below(14);
  for (uint64_t i = 0; i < count; ++i) {
    const bool any = mine.empty() || !rarely(10);
    const FieldSpec* spec = any ? nullptr : mine[in_order ? i % mine.size() : below(mine.size())];
    Bytes key = lying(1, spec ? spec->name : kKeys[below(kNumKeys)]);
    Bytes value = lying(2, lists ? feature_list(spec) : feature(spec));
    out += lying(1, rarely(10) ? key + value : value + key);
  }
  return out;
}

Bytes example(const std::vector<FieldSpec>& specs, bool sequence) {
  Bytes out = rarely(30) ? lying(1, entries(specs, false)) : Bytes();
  if (sequence) {
    Bytes lists = lying(2, entries(specs, true));
    out = rarely(20) ? out + lists : lists + out;
  }
  if (!rarely(20)) out += Bytes("\x13\x1b\x08\x01\x1c\x14", 6);  // nested groups
  return out;
}

void flip(Bytes& bytes) {
  for (uint64_t count = below(4); count && !bytes.empty(); --count) {
    const auto at = below(bytes.size());
    switch (below(4)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(rng());
        break;
      case 2:
        bytes.erase(at, 1 + below(4));
        break;
      default:
        bytes.insert(at, 1 + below(3), static_cast<char>(rng()));
    }
  }
}

void put32(Bytes& out, uint32_t value) { out.append(reinterpret_cast<const char*>(&value), 4); }

const uint8_t* data_of(const Bytes& bytes) { return reinterpret_cast<const uint8_t*>(bytes.data()); }

void frame(Bytes& out, const Bytes& payload) {
  const uint64_t size = payload.size();
  const Bytes header(reinterpret_cast<const char*>(&size), 8);
  out += header;
  put32(out, masked_crc32c(data_of(header), 8));
  out += payload;
  put32(out, masked_crc32c(data_of(payload), payload.size()));
}

std::vector<FieldSpec> fields(bool sequence) {
  std::vector<FieldSpec> list;
  const Shape shapes[] = {Shape::kNullable, Shape::kRequired,    Shape::kFixedList, Shape::kList,
                          Shape::kFrames,   Shape::kFixedFrames, Shape::kVarFrames};
  const Kind kinds[] = {Kind::kInt64, Kind::kFloat, Kind::kBytes};
  for (const char* key : kKeys) {
    if (Bytes(key) == "unknown") continue;
    FieldSpec spec;
    spec.name = key;
    spec.kind = kinds[below(3)];
    spec.shape = shapes[below(sequence ? 7 : 4)];
    spec.required = below(3) == 0;
    spec.selected = below(8) != 0;
    spec.dictionary = below(3) == 0;
    spec.list_size = static_cast<int64_t>(below(3));
    if (below(2) && (spec.shape == Shape::kRequired || spec.shape == Shape::kFixedList)) {
      spec.has_default = true;
      const auto count = spec.shape == Shape::kRequired ? 1 : spec.list_size;
      if (spec.kind == Kind::kInt64) spec.default_ints.assign(count, 7);
      if (spec.kind == Kind::kFloat) spec.default_floats.assign(count, 1.5f);
      if (spec.kind == Kind::kBytes) spec.default_bytes.assign(count, "default");
    }
    list.push_back(spec);
  }
  return list;
}

// Reads every byte that the exported arrays say they hold, so that a wrong length is a finding.
uint64_t touch(const ArrowArray* array, const FieldSpec* spec) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < array->n_children; ++i) sum += touch(array->children[i], spec);
  if (array->dictionary) sum += touch(array->dictionary, spec);
  if (array->buffers[0] && array->null_count)
    for (int64_t i = 0; i < (array->length + 7) / 8; ++i) sum += static_cast<const uint8_t*>(array->buffers[0])[i];
  if (array->n_buffers == 3) {
    const auto* offsets = static_cast<const int32_t*>(array->buffers[1]);
    for (int64_t i = 0; i < array->length; ++i) {
      if (offsets[i] > offsets[i + 1]) std::abort();
      for (int32_t at = offsets[i]; at < offsets[i + 1]; ++at) sum += static_cast<const uint8_t*>(array->buffers[2])[at];
    }
  } else if (array->n_buffers == 1) {  // a fixed-size list
    const auto size = array->length ? spec->list_size : 0;
    if (array->n_children == 1 && array->children[0]->length != array->length * size) std::abort();
  } else if (array->n_buffers == 2 && array->n_children) {
    const auto* offsets = static_cast<const int32_t*>(array->buffers[1]);
    for (int64_t i = 0; i < array->length; ++i)
      if (offsets[i] > offsets[i + 1]) std::abort();
    if (array->length && offsets[array->length] != array->children[0]->length) std::abort();
  } else if (array->n_buffers == 2) {
    const int64_t width = array->dictionary || spec->kind == Kind::kFloat ? 4 : 8;
    for (int64_t i = 0; i < array->length * width; ++i) sum += static_cast<const uint8_t*>(array->buffers[1])[i];
  }
  return sum;
}

uint64_t decoded = 0, frames = 0, encoded = 0, in_spans = 0;

uint64_t run_once(uint64_t records) {
  orderly = below(2);
  const bool sequence = below(2);
  const auto specs = fields(sequence);
  Bytes file;
  for (uint64_t i = 0; i < records; ++i) {
    Bytes payload = example(specs, sequence);
    if (rarely(6) == 0) flip(payload);
    frame(file, payload);
  }
  if (rarely(4) == 0) flip(file);
  // An exact heap allocation: one byte read past the end is a finding.
  std::unique_ptr<uint8_t[]> exact(new uint8_t[file.size() ? file.size() : 1]);
  std::memcpy(exact.get(), file.data(), file.size());
  const uint8_t* data = exact.get();
  const size_t size = file.size();

  uint64_t sum = 0;  // of all decoded bytes: shows that decoding goes deep
  size_t position = 0;
  find_record(data, below(size + 1), size, size, below(2), &position);
  std::vector<Record> found;
  scan_records(data, 0, size, size + 1, 1u << 20, 1u << 30, found);
  if (below(4) == 0) in_spans += span_reads(specs, file, found.size(), below(size + 1), 1 + static_cast<int64_t>(below(9)));
  Inference inference;
  for (const Record& record : found) inference.observe(data + record.offset, record.size);
  Decoder decoder(specs, {below(2) != 0, below(8) == 0, below(4) != 0});
  decoder.decode(data, size, found.data(), 0, static_cast<int64_t>(found.size()));
  decoded += decoder.rows();
  ArrowArray* batch = decoder.finish();
  size_t column = 0;
  for (const FieldSpec& spec : specs)
    if (spec.selected) {
      if (batch->children[column]->length != batch->length) std::abort();
      if (has_frames(spec.shape)) frames += static_cast<uint64_t>(batch->children[column]->children[0]->length);
      sum += touch(batch->children[column++], &spec);
    }
  if (below(2)) encoded += round_trip(specs, batch, below(batch->length + 1), below(1u << 30));
  batch->release(batch);
  delete batch;
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t runs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 10000;
  rng.seed(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  uint64_t inputs = 0, sum = 0;
  while (inputs < runs) {
    const uint64_t records = 1 + (below(8) == 0 ? below(150) : below(6));
    sum += run_once(records);
    inputs += records;
  }
  std::printf("%" PRIu64 " mutated inputs, %" PRIu64 " decoded (%" PRIu64 " frames), %" PRIu64 " encoded again, %" PRIu64 " in spans, no finding (sum %" PRIx64 ", crc %s)\n",
              inputs, decoded, frames, encoded, in_spans, sum, crc32c_implementation());
}
