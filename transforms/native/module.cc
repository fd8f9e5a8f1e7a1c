// transforms._native: counting of tokens and exact sums, for Python. The lock is released while they are made.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "exact_sums.h"
#include "token_counter.h"

namespace py = pybind11;

namespace fullpass {
namespace {

// A string array's offsets and text, held while they are used. They come as pyarrow's buffers, which speak Python's buffer
// protocol; an array without any text has none.
template <typename Offset>
class Strings {
 public:
  Strings(const py::buffer& offsets, const py::object& data, int64_t start, int64_t tokens)
      : offset_info_(offsets.request()), tokens_(tokens) {
    const int64_t known = offset_info_.size * offset_info_.itemsize / static_cast<int64_t>(sizeof(Offset));
    if (start < 0 || tokens < 0 || start + tokens + 1 > known)
      throw py::value_error("tokens " + std::to_string(start) + " to " + std::to_string(start + tokens) + " of " +
                            std::to_string(known - 1));
    offsets_ = static_cast<const Offset*>(offset_info_.ptr) + start;
    if (data.is_none()) return;
    data_info_ = py::cast<py::buffer>(data).request();
    text_ = static_cast<const uint8_t*>(data_info_.ptr);
    text_bytes_ = data_info_.size * data_info_.itemsize;
  }

  // Needs no lock of Python's.
  void check() const {
    bool sound = offsets_[0] >= 0 && offsets_[tokens_] <= text_bytes_;
    for (int64_t at = 0; sound && at < tokens_; ++at) sound = offsets_[at] <= offsets_[at + 1];
    if (!sound) throw std::invalid_argument("the offsets of strings must rise, and end within the text");
  }

  const Offset* offsets() const { return offsets_; }
  const uint8_t* text() const { return text_; }

 private:
  py::buffer_info offset_info_, data_info_;
  const Offset* offsets_ = nullptr;
  const uint8_t* text_ = nullptr;
  int64_t text_bytes_ = 0;
  int64_t tokens_;
};

template <typename Offset>
void add_tokens(TokenCounter& counter, const py::buffer& offsets, const py::object& data, int64_t start, int64_t tokens,
                const py::object& counts) {
  const Strings<Offset> strings(offsets, data, start, tokens);
  py::array_t<int64_t, py::array::c_style> weights;
  const int64_t* weight = nullptr;
  if (!counts.is_none()) {
    weights = py::cast<py::array_t<int64_t, py::array::c_style>>(counts);
    if (weights.size() != tokens) throw py::value_error("one count a token is needed");
    weight = weights.data();
  }
  py::gil_scoped_release unlocked;
  strings.check();
  for (int64_t at = 0; weight && at < tokens; ++at)
    if (weight[at] <= 0) throw std::invalid_argument("counts must be above 0");
  counter.add(strings.offsets(), strings.text(), tokens, weight);
}

template <typename Offset>
py::array_t<uint16_t> partitions(const py::buffer& offsets, const py::object& data, int64_t start, int64_t tokens,
                                 uint64_t parts) {
  if (parts < 1 || parts > 65536) throw py::value_error("parts must be 1 to 65536");
  const Strings<Offset> strings(offsets, data, start, tokens);
  py::array_t<uint16_t> numbers(tokens);
  uint16_t* out = numbers.mutable_data();
  {
    py::gil_scoped_release unlocked;
    strings.check();
    partition_numbers(strings.offsets(), strings.text(), tokens, parts, out);
  }
  return numbers;
}

py::tuple take(TokenCounter& counter) {
  const py::ssize_t size = counter.size();
  int64_t text_bytes = 0;
  {
    py::gil_scoped_release unlocked;  // it looks at every slot of the table
    text_bytes = counter.text_bytes();
  }
  py::array_t<int64_t> offsets(size + 1), counts(size);
  py::array_t<uint8_t> text(text_bytes);
  int64_t* offset = offsets.mutable_data();
  uint8_t* bytes = text.mutable_data();
  int64_t* count = counts.mutable_data();
  {
    py::gil_scoped_release unlocked;
    counter.write(offset, bytes, count);
    counter.clear();
  }
  return py::make_tuple(offsets, text, counts);
}

template <typename Float>
py::tuple exact_sums(const py::array_t<Float, py::array::c_style>& values) {
  const Float* data = values.data();
  const int64_t size = values.size();
  ExactSums sums;
  {
    py::gil_scoped_release unlocked;
    add_exactly(data, size, sums);
  }
  const auto bytes = [](const FixedPoint& number) {
    return py::bytes(reinterpret_cast<const char*>(number.data()), sizeof number);
  };
  return py::make_tuple(sums.count, bytes(sums.sum), bytes(sums.squares));
}

}  // namespace
}  // namespace fullpass

PYBIND11_MODULE(_native, module) {
  module.doc() = "Native parts of transforms.";
  py::class_<fullpass::TokenCounter>(module, "TokenCounter",
                                     "Counts distinct byte strings; to be used by one thread at a time.")
      .def(py::init<>())
      .def("__len__", &fullpass::TokenCounter::size)
      .def_property_readonly("nbytes", &fullpass::TokenCounter::bytes)
      .def("add_binary", &fullpass::add_tokens<int32_t>, py::arg("offsets"), py::arg("data"), py::arg("start"),
           py::arg("tokens"), py::arg("counts") = py::none())
      .def("add_large_binary", &fullpass::add_tokens<int64_t>, py::arg("offsets"), py::arg("data"), py::arg("start"),
           py::arg("tokens"), py::arg("counts") = py::none())
      .def("take", &fullpass::take);
  module.def("partitions_binary", &fullpass::partitions<int32_t>);
  module.def("partitions_large_binary", &fullpass::partitions<int64_t>);
  module.def("exact_sums_float32", &fullpass::exact_sums<float>, py::arg("values").noconvert());
  module.def("exact_sums_float64", &fullpass::exact_sums<double>, py::arg("values").noconvert());
}
