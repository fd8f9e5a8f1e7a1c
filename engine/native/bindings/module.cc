// The Python face of the codec: buffers in, Arrow capsules out, the GIL released in between.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "bindings/bindings.h"
#include "bindings/csv_module.h"
#include "bindings/parquet_module.h"
#include "framing/crc32c.h"
#include "decoder/decoder.h"
#include "encoder/encoder.h"
#include "bindings/feed_module.h"
#include "framing/framing.h"
#include "decoder/inference.h"

namespace py = pybind11;
using namespace fullpass;

namespace {

// A read-only view of a contiguous buffer, kept alive while it is used.
struct View {
  explicit View(const py::buffer& source) : info(source.request()) {
    if (info.ndim > 1 || (info.ndim == 1 && info.strides[0] != info.itemsize)) throw py::value_error("the buffer is not contiguous");
    data = static_cast<const uint8_t*>(info.ptr);
    size = static_cast<size_t>(info.size * info.itemsize);
  }
  py::buffer_info info;
  const uint8_t* data;
  size_t size;
};

struct Records {
  std::vector<Record> list;
};

// Bytes that C++ made and Python writes out without a copy.
struct Bytes {
  Buffer buffer;
};

// Runs fn(i) for i in [0, count) on as many threads; the first exception is thrown again here.
template <typename Function>
void parallel(int count, Function fn) {
  std::exception_ptr error;
  std::mutex mutex;
  auto guarded = [&](int i) {
    try {
      fn(i);
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex);
      if (!error) error = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < count; ++i) threads.emplace_back(guarded, i);
  guarded(0);
  for (auto& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

py::tuple scan(const py::buffer& source, size_t begin, size_t end, size_t limit, size_t max_records, uint64_t max_bytes,
               bool payloads) {
  View view(source);
  if (end > view.size || begin > end) throw py::value_error("the range is not within the buffer");
  auto records = std::make_unique<Records>();
  ScanResult result;
  int64_t bad = -1;
  {
    py::gil_scoped_release release;
    result = scan_records(view.data, begin, end, limit, max_records, max_bytes, records->list);
    for (size_t i = 0; payloads && i < records->list.size() && bad < 0; ++i) {
      const Record& record = records->list[i];
      const uint8_t* payload = view.data + record.offset;
      if (masked_crc32c(payload, record.size) != load_u32(payload + record.size)) bad = static_cast<int64_t>(i);
    }
  }
  return py::make_tuple(py::cast(std::move(records)), static_cast<int>(result.status), result.consumed, result.needed, bad);
}

py::tuple find(const py::buffer& source, size_t begin, size_t end, size_t limit, bool at_end_of_file) {
  View view(source);
  if (end > view.size || begin > end || limit > end) throw py::value_error("the range is not within the buffer");
  size_t position = 0;
  int64_t found;
  {
    py::gil_scoped_release release;
    found = find_record(view.data, begin, end, limit, at_end_of_file, &position);
  }
  return py::make_tuple(found, position);
}

// A hash of the payload checksums of records, as they are in the file: changes with any payload.
uint64_t checksum_hash(const py::buffer& source, const Records& records, uint64_t seed, size_t first, size_t count) {
  View view(source);
  py::gil_scoped_release release;
  uint64_t hash = seed;
  for (size_t i = first; i < first + count && i < records.list.size(); ++i) {
    const Record& record = records.list[i];
    if (record.offset + record.size + 4 > view.size) break;
    hash = (hash ^ load_u32(view.data + record.offset + record.size) ^ (static_cast<uint64_t>(record.size) << 32)) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 29;
  }
  return hash;
}

// Adds the features of records to what earlier calls saw, and returns the first record that is not an Example, or -1.
int64_t observe(Inference& inference, const py::buffer& source, const Records& records) {
  View view(source);
  py::gil_scoped_release release;
  for (size_t i = 0; i < records.list.size(); ++i) {
    const Record& record = records.list[i];
    if (record.offset + record.size > view.size) throw std::out_of_range("a record is not within the buffer");
    if (!inference.observe(view.data + record.offset, record.size)) return static_cast<int64_t>(i);
  }
  return -1;
}

void add_field(Schema& schema, std::string name, int kind, int shape, int64_t list_size, bool selected, bool dictionary,
               const py::object& defaults, bool required) {
  FieldSpec field;
  field.name = std::move(name);
  field.kind = static_cast<Kind>(kind);
  field.shape = static_cast<Shape>(shape);
  field.list_size = list_size;
  field.selected = selected;
  field.dictionary = dictionary;
  field.required = required;
  if (!defaults.is_none()) {
    field.has_default = true;
    if (field.kind == Kind::kInt64) field.default_ints = defaults.cast<std::vector<int64_t>>();
    if (field.kind == Kind::kFloat) field.default_floats = defaults.cast<std::vector<float>>();
    if (field.kind == Kind::kBytes)
      for (const py::handle& value : defaults) field.default_bytes.push_back(value.cast<std::string>());
  }
  schema.fields.push_back(std::move(field));
}

// Decodes records into batches of batch_rows (the last may be shorter), `threads` at a time.
py::tuple decode(const Schema& schema, const py::buffer& source, const Records& records, int64_t batch_rows, int threads,
                 bool verify, bool strict, bool skip) {
  View view(source);
  const auto total = static_cast<int64_t>(records.list.size());
  for (const Record& record : records.list)
    if (record.offset + record.size + (verify ? 4 : 0) > view.size) throw py::value_error("a record is not within the buffer");
  const auto batches = static_cast<int>((total + batch_rows - 1) / batch_rows);
  std::vector<ArrowArray*> arrays(batches, nullptr);
  std::vector<std::vector<Fault>> faults(batches);
  {
    py::gil_scoped_release release;
    const int workers = threads < batches ? threads : batches;
    parallel(workers, [&](int worker) {
      for (int i = worker; i < batches; i += workers) {
        Decoder decoder(schema.fields, {verify, strict, skip});
        const int64_t first = i * batch_rows;
        decoder.decode(view.data, view.size, records.list.data(), first, std::min(batch_rows, total - first));
        faults[i] = decoder.faults();
        arrays[i] = decoder.finish();
      }
    });
  }
  py::list capsules, problems;
  for (ArrowArray* array : arrays) capsules.append(array_capsule(array));
  for (const auto& list : faults)
    for (const Fault& fault : list)
      problems.append(py::make_tuple(static_cast<int>(fault.code), fault.record, py::bytes(fault.message)));
  return py::make_tuple(capsules, problems);
}

py::list as_list(const Inference::ByName& features) {
  py::list list;
  for (const auto& [name, seen] : features)
    list.append(py::make_tuple(py::bytes(name), seen.kinds, seen.present, seen.least, seen.most));
  return list;
}

py::list as_list(const std::vector<Fault>& faults) {
  py::list problems;
  for (const Fault& fault : faults)
    problems.append(py::make_tuple(static_cast<int>(fault.code), fault.record, py::bytes(fault.message)));
  return problems;
}

// Decodes into one batch after another, each from as many buffers as it takes: what is read stays in cache until it is decoded.
class Stream {
 public:
  Stream(const Schema& schema, bool verify, bool strict, bool skip)
      : decoder_(schema.fields, {verify, strict, skip}), tail_(verify ? kFooterBytes : 0) {}
  py::list decode(const py::buffer& source, const Records& records) {
    View view(source);
    for (const Record& record : records.list)
      if (record.offset + record.size + tail_ > view.size) throw py::value_error("a record is not within the buffer");
    decoder_.forget_faults();
    {
      py::gil_scoped_release release;
      decoder_.decode(view.data, view.size, records.list.data(), 0, static_cast<int64_t>(records.list.size()));
    }
    return as_list(decoder_.faults());
  }
  py::capsule finish(bool more) { return array_capsule(decoder_.finish(more)); }

 private:
  Decoder decoder_;
  size_t tail_;
};

// A 64-bit hash of each value of a binary array, the same in every release: FNV-1a with a final mix.
std::unique_ptr<Bytes> hash_rows(const py::capsule& capsule, uint64_t seed) {
  const auto* array = static_cast<const ArrowArray*>(PyCapsule_GetPointer(capsule.ptr(), "arrow_array"));
  if (!array) throw py::error_already_set();
  if (array->n_buffers != 3) throw py::value_error("not a binary array");
  auto out = std::make_unique<Bytes>();
  py::gil_scoped_release release;
  const int32_t* offsets = static_cast<const int32_t*>(array->buffers[1]) + array->offset;
  const auto* bytes = static_cast<const uint8_t*>(array->buffers[2]);
  out->buffer.reserve(static_cast<size_t>(array->length) * 8);
  for (int64_t row = 0; row < array->length; ++row) {
    uint64_t hash = 0xcbf29ce484222325ull ^ (seed * 0x9e3779b97f4a7c15ull);
    for (int32_t at = offsets[row]; at < offsets[row + 1]; ++at) hash = (hash ^ bytes[at]) * 0x100000001b3ull;
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdull;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53ull;
    out->buffer.push(hash ^ (hash >> 33));
  }
  return out;
}

// Encodes rows [begin, end) of a batch into `out`, in place of what it held: its memory is used again. `lists` has, for each
// column that is one, the key of its feature list.
void encode(const py::capsule& schema_capsule, const py::capsule& array_capsule, int64_t begin, int64_t end, int threads,
            Bytes& out, const Encoder::ListKeys& lists) {
  const auto* schema = static_cast<const ArrowSchema*>(PyCapsule_GetPointer(schema_capsule.ptr(), "arrow_schema"));
  const auto* array = static_cast<const ArrowArray*>(PyCapsule_GetPointer(array_capsule.ptr(), "arrow_array"));
  if (!schema || !array) throw py::error_already_set();
  if (begin < 0 || begin > end || end > array->length) throw py::value_error("the rows are not within the batch");
  py::gil_scoped_release release;
  const Encoder encoder(schema, array, lists);
  const int64_t rows = end - begin;
  std::vector<Buffer> parts(threads - 1);
  out.buffer.set_size(0);
  parallel(threads, [&](int i) {
    encoder.encode(begin + rows * i / threads, begin + rows * (i + 1) / threads, i ? &parts[i - 1] : &out.buffer);
  });
  for (const Buffer& part : parts) out.buffer.append(part.data(), part.size());
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "TFRecord framing, and tf.Example and tf.SequenceExample <-> Arrow.";
  m.attr("OK") = static_cast<int>(ScanStatus::kOk);
  m.attr("NEED_MORE") = static_cast<int>(ScanStatus::kNeedMore);
  m.attr("BAD_LENGTH") = static_cast<int>(ScanStatus::kBadLength);
  m.attr("TOO_LONG") = static_cast<int>(ScanStatus::kTooLong);
  py::class_<Records>(m, "Records")
      .def("__len__", [](const Records& r) { return r.list.size(); })
      .def("place", [](const Records& r, size_t i) { return py::make_tuple(r.list.at(i).offset, r.list.at(i).size); });
  py::class_<Bytes>(m, "Bytes", py::buffer_protocol())
      .def(py::init<>())
      .def_buffer([](Bytes& b) {
        return py::buffer_info(b.buffer.data(), 1, py::format_descriptor<uint8_t>::format(), 1,
                               {static_cast<py::ssize_t>(b.buffer.size())}, {1}, true);
      })
      .def("__len__", [](const Bytes& b) { return b.buffer.size(); });
  py::class_<Schema>(m, "Schema")
      .def(py::init<>())
      .def("add", &add_field, py::arg("name"), py::arg("kind"), py::arg("shape"), py::arg("list_size"), py::arg("selected"),
           py::arg("dictionary"), py::arg("defaults"), py::arg("required") = false);
  py::class_<Inference>(m, "Inference")
      .def(py::init<>())
      .def("observe", &observe)
      .def_readonly("records", &Inference::records)
      .def("features", [](const Inference& inference) { return as_list(inference.features); })
      .def("feature_lists", [](const Inference& inference) { return as_list(inference.lists); });
  py::class_<Stream>(m, "Stream")
      .def(py::init<const Schema&, bool, bool, bool>(), py::keep_alive<1, 2>())
      .def("decode", &Stream::decode)
      .def("finish", &Stream::finish);
  register_spans(m);
  register_feed(m);
  register_csv(m);
  register_parquet(m);
  register_serving(m);
  m.def("scan", &scan);
  m.def("find", &find);
  m.def("checksum_hash", &checksum_hash);
  m.def("decode", &decode);
  m.def("encode", &encode);
  m.def("hash_rows", &hash_rows);
  m.def("masked_crc32c", [](const py::buffer& b) { View v(b); return masked_crc32c(v.data, v.size); });
  m.def("crc32c", [](const py::buffer& b) { View v(b); return crc32c(v.data, v.size); });
  m.def("crc32c_portable", [](const py::buffer& b) { View v(b); return crc32c_portable(v.data, v.size); });
  m.def("crc32c_implementation", &crc32c_implementation);
}
