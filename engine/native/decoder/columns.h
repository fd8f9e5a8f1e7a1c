// Column builders: buffers appended to in place and handed to Arrow without a copy.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "encoder/arrow_abi.h"

namespace fullpass {

enum class Kind : uint8_t { kInt64 = 0, kFloat = 1, kBytes = 2 };
enum class Shape : uint8_t {
  kNullable = 0,
  kRequired = 1,
  kFixedList = 2,
  kList = 3,
  // Of feature lists, one entry a frame: exactly one value, exactly list_size values, any number of values.
  kFrames = 4,
  kFixedFrames = 5,
  kVarFrames = 6
};

constexpr bool is_scalar(Shape shape) { return shape == Shape::kNullable || shape == Shape::kRequired; }
constexpr bool is_fixed(Shape shape) { return shape == Shape::kFixedList || shape == Shape::kFixedFrames; }
constexpr bool has_frames(Shape shape) { return shape >= Shape::kFrames; }

// Bytes that grow by doubling.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }
  // Makes room for `extra` more bytes, and 64 beyond them that fixed-width copies may spill into.
  void reserve(size_t extra) {
    if (size_ + extra + 64 > capacity_) grow(size_ + extra + 64);
  }
  uint8_t* end() { return data_ + size_; }
  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  void set_size(size_t size) { size_ = size; }
  void append(const void* from, size_t bytes) {
    reserve(bytes);
    if (bytes) std::memcpy(end(), from, bytes);
    size_ += bytes;
  }
  template <typename T>
  void push(T value) {
    reserve(sizeof(T));
    std::memcpy(end(), &value, sizeof(T));
    size_ += sizeof(T);
  }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }

 private:
  void grow(size_t least);
  void release();
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// Distinct byte strings and their numbers.
class Dictionary {
 public:
  int32_t index_of(const uint8_t* data, size_t size);
  Buffer offsets, bytes;
  int32_t count = 0;

 private:
  struct Slot {
    uint64_t hash;
    int32_t index;
  };
  void rehash();
  std::vector<Slot> slots_;
};

// Values of one kind: int64, float, or bytes (plain or dictionary-encoded).
struct Values {
  Kind kind;
  bool dictionary = false;
  int64_t count = 0;
  Buffer data;     // values; for plain bytes their content; for dictionaries int32 indices
  Buffer offsets;  // plain bytes only
  Dictionary entries;

  void push_int(int64_t value) {
    data.push(value);
    ++count;
  }
  void push_float(uint32_t bits) {
    data.push(bits);
    ++count;
  }
  void push_bytes(const uint8_t* from, size_t size) {
    if (dictionary) {
      data.push(entries.index_of(from, size));
    } else {
      data.append(from, size);
      offsets.push(static_cast<int32_t>(data.size()));
    }
    ++count;
  }
  void push_null() {
    if (kind == Kind::kInt64) return push_int(0);
    if (kind == Kind::kFloat) return push_float(0);
    if (dictionary) {
      data.push<int32_t>(0);
    } else {
      offsets.push(static_cast<int32_t>(data.size()));
    }
    ++count;
  }
  // Forgets the values after the first `kept`; dictionary entries stay, which is harmless.
  void truncate(int64_t kept);
};

struct FieldSpec {
  std::string name;
  Kind kind;
  Shape shape;
  int64_t list_size = 0;
  bool selected = true;
  bool dictionary = false;
  bool has_default = false;
  bool required = false;  // of feature lists: one that is missing is a fault
  std::vector<int64_t> default_ints;
  std::vector<float> default_floats;
  std::vector<std::string> default_bytes;
};

struct Mark {
  int64_t rows, values, nulls, frames;
};

class Column {
 public:
  explicit Column(const FieldSpec& spec);
  Mark mark() const { return {rows, values.count, nulls, frames}; }
  void rollback(const Mark& mark);
  // Appends `n` validity bits (n <= 64), the lowest first.
  void push_validity(uint64_t bits, int n);
  void push_default();
  void end_list() { list_offsets.push(static_cast<int32_t>(has_frames(spec.shape) ? frames : values.count)); }
  void end_frame() {
    ++frames;
    if (spec.shape == Shape::kVarFrames) frame_offsets.push(static_cast<int32_t>(values.count));
  }
  // Moves everything into an ArrowArray that frees it on release.
  void export_to(ArrowArray* out);

  const FieldSpec& spec;
  Values values;
  Buffer list_offsets, frame_offsets, validity;
  int64_t rows = 0, nulls = 0, frames = 0;
};

// Moves the columns into one struct array, as a record batch crosses.
ArrowArray* export_batch(std::vector<Column>& columns, int64_t rows);

}  // namespace fullpass
