// Feeds the readers of predict requests with bodies and messages that it must read exactly, and with the same after changes of their bytes; each copy
// ends where its memory ends, so that a read beyond it is seen.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "json_answer.h"
#include "packed_request.h"
#include "tensor_answer.h"
#include "tensor_request.h"

using namespace fullpass;

namespace {

std::mt19937_64 rng;

uint64_t below(uint64_t limit) { return limit ? rng() % limit : 0; }

const std::vector<SignatureSpec>& signatures() {
  static const std::vector<SignatureSpec> all{
      {"serving_default", {{"examples", InputKind::kBytes, {}}}, true},
      {"many",
       {{"f", InputKind::kFloat32, {}},
        {"d", InputKind::kFloat64, {2}},
        {"i", InputKind::kInt32, {-1}},
        {"l", InputKind::kInt64, {-1, 2}},
        {"s", InputKind::kBytes, {1}}},
       false},
      {"one", {{"x", InputKind::kFloat32, {-1, -1}}}, false},
  };
  return all;
}

std::string numbers(size_t count) {
  static const char* const kNumbers[] = {"0", "-1", "2.5e-3", "9223372036854775807", "1E5", "-0", "2147483647", "0.1"};
  std::string out = "[";
  for (size_t i = 0; i < count; ++i) out.append(i ? ", " : "").append(kNumbers[below(i % 2 ? 8 : 2)]);
  return out + "]";
}

// A body, and how many rows it has.
std::string body(size_t* rows) {
  *rows = 1 + below(4);
  std::string out;
  const uint64_t kind = below(3);
  const size_t width = 1 + below(3);
  for (size_t row = 0; row < *rows; ++row) {
    if (row) out += ",";
    if (kind == 0) {
      out += below(2) ? "{\"b64\": \"CgA=\"}" : "{\"b64\": \"\"}";
    } else if (kind == 1) {
      out += "[" + std::string("[1, 2.5], [-1e3, 0]") + "]";
    } else {
      std::string ints = "[";
      for (size_t i = 0; i < width; ++i) ints += i ? ",7" : "1";
      out += "{\"f\": 1.5, \"d\": [1, 2e2], \"i\": " + ints + "], \"l\": [[1, 2], [3, -4]], \"s\": [\"a\\u00e9\\n\\ud83d\\ude00\xc3\xa9\"]}";
    }
  }
  const char* names[] = {"", ", \"signature_name\": \"one\"", ", \"signature_name\": \"many\""};
  if (kind == 0) return "{\"instances\": [" + out + "]}";
  return "{" + std::string(names[kind] + 2) + ", \"instances\": [" + out + "]}";
}

void mutate(std::string* text) {
  for (uint64_t i = 0, changes = 1 + below(4); i < changes && !text->empty(); ++i) {
    const size_t at = below(text->size());
    switch (below(5)) {
      case 0: (*text)[at] = static_cast<char>(rng()); break;
      case 1: text->resize(at); break;
      case 2: text->erase(at, 1 + below(8)); break;
      case 3: text->insert(at, text->substr(below(text->size()), below(20))); break;
      default: text->insert(at, numbers(1 + below(3))); break;
    }
  }
}

[[noreturn]] void fail(const char* why, const std::string& text) {
  std::fprintf(stderr, "%s: %s\n", why, text.c_str());
  std::exit(1);
}

void check(const PackedRequest* out, const std::string& text) {
  // Whatever was read has as many values as its shape says: joining copies them without another look.
  const SignatureSpec& signature = signatures().at(out->signature);
  if (out->columns.size() != signature.inputs.size() || out->rows == 0 || out->rows > 64) fail("columns or rows", text);
  for (size_t i = 0; i < out->columns.size(); ++i) {
    const PackedColumn& column = out->columns[i];
    size_t values = out->rows;
    for (const int64_t dim : column.dims) {
      if (dim <= 0) fail("a size", text);
      values *= static_cast<size_t>(dim);
    }
    const size_t item = item_size(signature.inputs[i].kind);
    if (item ? column.bytes.size() != values * item : column.ends.size() != values) fail("values", text);
    size_t last = 0;
    for (const size_t end : column.ends) {
      if (end < last || end > column.bytes.size()) fail("an end", text);
      last = end;
    }
  }
}

bool read(const std::string& text, PackedRequest* out) {
  const std::unique_ptr<char[]> exact(new char[text.size()]);
  std::memcpy(exact.get(), text.data(), text.size());
  if (!read_request(exact.get(), text.size(), signatures(), 64, out)) return false;
  check(out, text);
  return true;
}

std::string field(char tag, const std::string& content) {
  std::string out{tag};
  size_t size = content.size();
  for (; size >= 0x80; size >>= 7) out += static_cast<char>(size | 0x80);
  out += static_cast<char>(size);
  return out + content;
}

// A message for one of the signatures: TensorProtos, of which the fuzzer then changes bytes.
std::string message(uint64_t kind, size_t rows) {
  const auto tensor = [rows](char dtype, std::vector<size_t> dims, const std::string& values) {
    std::string shape = field(0x12, std::string{0x08, static_cast<char>(rows)});
    for (const size_t dim : dims) shape += field(0x12, std::string{0x08, static_cast<char>(dim)});
    return field(0x12, std::string{0x08, dtype} + field(0x12, shape) + values);
  };
  const auto input = [](const std::string& name, const std::string& value) { return field(0x12, field(0x0a, name) + value); };
  const std::string spec = field(0x0a, field(0x0a, "m"));
  if (kind == 0) {
    std::string texts;
    for (size_t i = 0; i < rows; ++i) texts += field(0x42, below(2) ? std::string{0x0a, 0x00} : "");
    return spec + input("examples", tensor(7, {}, texts));
  }
  if (kind == 2) return input("x", tensor(1, {2, 1}, below(2) ? field(0x22, std::string(rows * 8, 'a')) : field(0x2a, std::string(rows * 8, 'a')))) + spec;
  std::string texts;
  for (size_t i = 0; i < rows; ++i) texts += field(0x42, "ab");
  return spec + input("f", tensor(1, {}, field(0x2a, std::string(rows * 4, 'b')))) + input("d", tensor(2, {2}, field(0x22, std::string(rows * 16, 'c')))) +
         input("i", tensor(3, {1}, field(0x3a, std::string(rows, 5)))) + input("l", tensor(9, {2, 2}, field(0x52, std::string(rows * 4, 7)))) +
         input("s", tensor(7, {1}, texts));
}

bool read_bytes(const std::string& bytes, uint64_t kind, PackedRequest* out) {
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::memcpy(exact.get(), bytes.data(), bytes.size());
  const uint8_t* spec;
  size_t spec_size;
  if (!find_model_spec(exact.get(), bytes.size(), &spec, &spec_size)) return false;
  if (spec < exact.get() || spec + spec_size > exact.get() + bytes.size()) fail("the model_spec", bytes);
  out->signature = kind;
  if (!read_tensors(exact.get(), bytes.size(), signatures()[kind], 64, out)) return false;
  check(out, bytes);
  return true;
}

void write_some() {
  std::vector<Output> outputs;
  std::vector<std::unique_ptr<char[]>> kept;
  const size_t rows = 1 + below(5);
  for (uint64_t i = 0, count = 1 + below(3); i < count; ++i) {
    const auto kind = static_cast<OutputKind>(below(5));
    const size_t item = kind == OutputKind::kBool ? 1 : kind == OutputKind::kFloat32 || kind == OutputKind::kInt32 ? 4 : 8;
    Output output{"\"a\"", kind, nullptr, {}};
    size_t values = rows;
    for (uint64_t d = below(3); d; --d) values *= static_cast<size_t>(output.dims.emplace_back(static_cast<int64_t>(below(3))));
    kept.emplace_back(new char[values * item + 1]);
    for (size_t at = 0; at < values * item; ++at) kept.back()[at] = static_cast<char>(rng());
    output.data = kept.back().get();
    outputs.push_back(output);
  }
  std::string text;
  write_predictions(outputs, below(rows), rows, &text);
  for (Output& each : outputs) each.name = "a";
  write_outputs(outputs, below(rows), rows, &text);
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t runs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100000;
  rng.seed(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  uint64_t taken = 0;
  for (uint64_t run = 0; run < runs; ++run) {
    size_t rows;
    std::string text = body(&rows);
    PackedRequest request;
    if (!read(text, &request) || request.rows != rows) fail("refused", text);
    mutate(&text);
    PackedRequest other;
    taken += read(text, &other);
    const uint64_t kind = below(3);
    rows = 1 + below(4);
    std::string bytes = message(kind, rows);
    if (!read_bytes(bytes, kind, &request) || request.rows != rows) fail("refused a message", bytes);
    mutate(&bytes);
    taken += read_bytes(bytes, kind, &other);
    write_some();
  }
  std::printf("serving: %" PRIu64 " bodies and as many messages read, and %" PRIu64 " of them after changes of their bytes\n", runs, taken);
  return 0;
}
