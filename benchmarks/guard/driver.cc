// The hot paths on fixed inputs, for callgrind to count: `driver WORKLOAD`. What a function `guarded_...` does is counted, making of
// its input is not. Prints a checksum of what was done, so that no work can be left out unseen.
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "decoder/decoder.h"
#include "feed/feed_pack.h"
#include "feed/feistel.h"
#include "framing/crc32c.h"
#include "framing/framing.h"
#include "rows/byte_rows.h"
#include "rows/gather.h"
#include "token_counter.h"

using namespace fullpass;

namespace {

using Bytes = std::string;

constexpr int kFloats = 13, kTexts = 26, kRecords = 3000;
constexpr size_t kRows = 8192, kInts = 27;

const uint8_t* data_of(const Bytes& bytes) { return reinterpret_cast<const uint8_t*>(bytes.data()); }

Bytes varint(uint64_t value) {
  Bytes out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}

Bytes delimited(uint32_t field, const Bytes& body) { return varint(field << 3 | 2) + varint(body.size()) + body; }

Bytes text_of(uint64_t value) {
  char digits[9];
  std::snprintf(digits, sizeof digits, "%08" PRIx32, static_cast<uint32_t>(value * 2654435761u));
  return digits;
}

// tf.Examples of click logs: a label, 13 floats of which a tenth is missing, 26 strings of eight bytes; and a list of 0 to 6 numbers.
Bytes example(std::mt19937_64& rng, bool lists) {
  Bytes features;
  const auto add = [&](const Bytes& name, const Bytes& value) {
    features += delimited(1, delimited(1, name) + delimited(2, value));
  };
  add("label", delimited(3, delimited(1, varint(rng() & 1))));
  for (int i = 0; i < kFloats; ++i) {
    const uint64_t drawn = rng();
    if (drawn % 10 == 0) continue;
    const float value = static_cast<float>(drawn % 1000);
    add("I" + std::to_string(i), delimited(2, delimited(1, Bytes(reinterpret_cast<const char*>(&value), 4))));
  }
  for (int i = 0; i < kTexts; ++i) add("C" + std::to_string(i), delimited(1, delimited(1, text_of(rng() % 5000))));
  if (lists) {
    Bytes run;
    for (uint64_t left = rng() % 7; left; --left) run += varint(rng() % 100000);
    add("L", delimited(3, delimited(1, run)));
  }
  return delimited(1, features);
}

void frame(Bytes& out, const Bytes& payload) {
  const auto put32 = [&](uint32_t value) { out.append(reinterpret_cast<const char*>(&value), 4); };
  const uint64_t size = payload.size();
  const Bytes header(reinterpret_cast<const char*>(&size), 8);
  out += header;
  put32(masked_crc32c(data_of(header), 8));
  out += payload;
  put32(masked_crc32c(data_of(payload), payload.size()));
}

FieldSpec field(const Bytes& name, Kind kind, Shape shape) {
  FieldSpec spec;
  spec.name = name;
  spec.kind = kind;
  spec.shape = shape;
  return spec;
}

struct Records {
  Bytes file;
  std::vector<FieldSpec> fields;
};

Records records(bool lists) {
  std::mt19937_64 rng(1);
  Records made;
  for (int i = 0; i < kRecords; ++i) frame(made.file, example(rng, lists));
  made.file.append(64, '\0');  // room that wide loads may touch
  made.fields.push_back(field("label", Kind::kInt64, Shape::kRequired));
  for (int i = 0; i < kFloats; ++i) made.fields.push_back(field("I" + std::to_string(i), Kind::kFloat, Shape::kNullable));
  for (int i = 0; i < kTexts; ++i) made.fields.push_back(field("C" + std::to_string(i), Kind::kBytes, Shape::kRequired));
  if (lists) made.fields.push_back(field("L", Kind::kInt64, Shape::kList));
  return made;
}

struct Numbers {
  std::vector<std::vector<float>> floats;
  std::vector<std::vector<int64_t>> ints;
};

Numbers numbers() {
  std::mt19937_64 rng(2);
  Numbers made{std::vector<std::vector<float>>(kFloats, std::vector<float>(kRows)),
               std::vector<std::vector<int64_t>>(kInts, std::vector<int64_t>(kRows))};
  for (auto& column : made.floats)
    for (float& value : column) value = static_cast<float>(rng() % 1000);
  for (auto& column : made.ints)
    for (int64_t& value : column) value = static_cast<int64_t>(rng() % 1000000);
  return made;
}

struct Texts {
  std::vector<int32_t> offsets{0};
  Bytes data;
};

// Words of up to seven bytes, of eight, and longer ones: each kind that is counted in a way of its own.
Texts texts(size_t count, uint64_t distinct, bool of_eight) {
  std::mt19937_64 rng(3);
  Texts made;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t id = rng() % distinct;
    const Bytes word = text_of(id);
    made.data += of_eight ? word : id % 3 == 0 ? word.substr(0, 5) : id % 3 == 1 ? word : word + word + "long";
    made.offsets.push_back(static_cast<int32_t>(made.data.size()));
  }
  return made;
}

uint64_t sum_of(const uint8_t* bytes, size_t size) { return crc32c(bytes, size); }

}  // namespace

extern "C" {

__attribute__((noinline)) uint64_t guarded_decode(const Records& made) {
  std::vector<Record> found;
  const size_t size = made.file.size() - 64;
  scan_records(data_of(made.file), 0, size, size, 1u << 20, 1u << 30, found);
  Decoder decoder(made.fields, {true, false, false});
  decoder.decode(data_of(made.file), size, found.data(), 0, static_cast<int64_t>(found.size()));
  ArrowArray* batch = decoder.finish();
  const auto rows = static_cast<uint64_t>(batch->length);
  batch->release(batch);
  delete batch;
  return decoder.faults().empty() ? rows : 0;
}

__attribute__((noinline)) void guarded_pack(const Numbers& made, float* floats, int64_t* ints) {
  std::vector<PackColumn> columns;
  for (size_t i = 0; i < made.floats.size(); ++i) columns.push_back({reinterpret_cast<const uint8_t*>(made.floats[i].data()), i, 1});
  pack_rows(columns, kRows, kFloats, 4, reinterpret_cast<uint8_t*>(floats));
  columns.clear();
  for (size_t i = 0; i < made.ints.size(); ++i) columns.push_back({reinterpret_cast<const uint8_t*>(made.ints[i].data()), i, 1});
  pack_rows(columns, kRows, kInts, 8, reinterpret_cast<uint8_t*>(ints));
}

__attribute__((noinline)) uint64_t guarded_count(const Texts& made) {
  TokenCounter counter;
  counter.add(made.offsets.data(), data_of(made.data), static_cast<int64_t>(made.offsets.size() - 1), nullptr);
  return static_cast<uint64_t>(counter.size());
}

// What the feed does with a window: the order of its rows, the rows into batches, strings as tensors hold them.
__attribute__((noinline)) uint64_t guarded_feed(const int64_t* from, int64_t* to, const ByteRows& rows, ByteRows& out) {
  const Feistel permutation{kRows, 128, 64, {11, 12, 13, 14, 15, 16}};
  std::vector<uint64_t> order(kRows);
  permutation.range(0, kRows, order.data());
  const auto* places = reinterpret_cast<const int64_t*>(order.data());
  gather({{reinterpret_cast<const uint8_t*>(from), kRows, places, kRows, kInts * 8, reinterpret_cast<uint8_t*>(to)}}, 1);
  out.append_rows({&rows}, {0}, places, kRows);
  return out.rows();
}
}

int main(int argc, char** argv) {
  const Bytes name = argc > 1 ? argv[1] : "";
  uint64_t sum = 0;
  if (name == "decode" || name == "decode_lists") {
    sum = guarded_decode(records(name == "decode_lists"));
    if (sum != kRecords) return std::fprintf(stderr, "%" PRIu64 " records decoded\n", sum), 1;
  } else if (name == "pack") {
    std::vector<float> floats(kRows * kFloats);
    std::vector<int64_t> ints(kRows * kInts);
    guarded_pack(numbers(), floats.data(), ints.data());
    sum = sum_of(reinterpret_cast<uint8_t*>(ints.data()), ints.size() * 8) + sum_of(reinterpret_cast<uint8_t*>(floats.data()), floats.size() * 4);
  } else if (name == "count") {
    sum = guarded_count(texts(200000, 30000, false));
  } else if (name == "feed") {
    const Texts words = texts(kRows * kTexts, 5000, true);
    ByteRows rows(kTexts), out(kTexts);
    rows.append_columns({{words.offsets.data(), false, data_of(words.data), words.data.size(), kTexts}}, kRows);
    std::vector<int64_t> from(kRows * kInts), to(from.size());
    for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<int64_t>(i);
    if (guarded_feed(from.data(), to.data(), rows, out) != kRows) return 1;
    sum = sum_of(reinterpret_cast<uint8_t*>(to.data()), to.size() * 8) + sum_of(out.data.data(), out.data.size());
  } else {
    return std::fprintf(stderr, "usage: driver decode|decode_lists|pack|count|feed\n"), 2;
  }
  std::printf("%s %" PRIx64 " %s\n", name.c_str(), sum, crc32c_implementation());
}
