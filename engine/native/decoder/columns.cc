#include "decoder/columns.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "decoder/pool.h"

namespace fullpass {
namespace {

constexpr size_t kRemappedBytes = 4 << 20;  // larger buffers grow by remapping their pages, not by copying

uint64_t hash_bytes(const uint8_t* data, size_t size) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15ull;
  uint64_t hash = size * kMultiplier + 1;
  auto mix = [&](uint64_t word) {
    const auto product = static_cast<unsigned __int128>(hash ^ word) * 0xd6e8feb86659fd93ull;
    hash = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64) ^ kMultiplier;
  };
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    mix(word);
  }
  uint64_t tail = 0;
  if (size) std::memcpy(&tail, data, size);
  mix(tail);
  return hash;
}

// What an exported array owns until Arrow releases it.
struct Owned {
  std::vector<Buffer> buffers;
  std::vector<const void*> pointers;
  std::vector<ArrowArray*> children;
};

void release_array(ArrowArray* array) {
  for (int64_t i = 0; i < array->n_children; ++i) {
    ArrowArray* child = array->children[i];
    if (child->release) child->release(child);
    delete child;
  }
  if (array->dictionary) {
    if (array->dictionary->release) array->dictionary->release(array->dictionary);
    delete array->dictionary;
  }
  delete static_cast<Owned*>(array->private_data);
  array->release = nullptr;
}

void fill(ArrowArray* out, int64_t length, int64_t nulls, std::vector<Buffer> buffers, std::vector<ArrowArray*> children,
          ArrowArray* dictionary = nullptr) {
  auto owned = std::make_unique<Owned>();
  owned->buffers = std::move(buffers);
  for (auto& buffer : owned->buffers) owned->pointers.push_back(buffer.data());
  owned->children = std::move(children);
  *out = ArrowArray{};
  out->length = length;
  out->null_count = nulls;
  out->n_buffers = static_cast<int64_t>(owned->pointers.size());
  out->n_children = static_cast<int64_t>(owned->children.size());
  out->buffers = owned->pointers.data();
  out->children = owned->children.data();
  out->dictionary = dictionary;
  out->release = release_array;
  out->private_data = owned.release();
}

// Arrow wants a pointer even for no bytes: an empty buffer gets an allocation.
Buffer present(Buffer buffer) {
  buffer.reserve(0);
  return buffer;
}

template <typename... B>
std::vector<Buffer> list_of(B&&... buffers) {
  std::vector<Buffer> list;
  (list.push_back(std::forward<B>(buffers)), ...);
  return list;
}

void export_values(Values& values, Buffer validity, int64_t nulls, ArrowArray* out) {
  Buffer valid = nulls ? std::move(validity) : Buffer();
  if (values.kind != Kind::kBytes)
    return fill(out, values.count, nulls, list_of(std::move(valid), present(std::move(values.data))), {});
  if (!values.dictionary)
    return fill(out, values.count, nulls,
                list_of(std::move(valid), std::move(values.offsets), present(std::move(values.data))), {});
  auto* entries = new ArrowArray;
  Buffer offsets = std::move(values.entries.offsets);
  if (!offsets.size()) offsets.push<int32_t>(0);
  fill(entries, values.entries.count, 0, list_of(Buffer(), std::move(offsets), present(std::move(values.entries.bytes))), {});
  fill(out, values.count, nulls, list_of(std::move(valid), present(std::move(values.data))), {}, entries);
}

}  // namespace

void Buffer::grow(size_t least) {
  size_t capacity = std::max({least, capacity_ * 2, size_t{1024}});
  if (capacity >= kLeastPooledBytes) capacity = pooled_size(capacity);
  void* moved;
  if (capacity < kLeastPooledBytes || capacity_ >= kRemappedBytes) {
    moved = std::realloc(data_, capacity);
    if (!moved) throw std::bad_alloc();
  } else {
    moved = pool_take(capacity);
    if (!moved) throw std::bad_alloc();
    if (data_) std::memcpy(moved, data_, capacity_);  // all of it: encoders write past the size before they set it
    release();
  }
  data_ = static_cast<uint8_t*>(moved);
  capacity_ = capacity;
}

void Buffer::release() {
  if (capacity_ < kLeastPooledBytes) return std::free(data_);
  pool_give(data_, capacity_);
}

int32_t Dictionary::index_of(const uint8_t* data, size_t size) {
  if (static_cast<size_t>(count) * 2 >= slots_.size()) rehash();
  if (!offsets.size()) offsets.push<int32_t>(0);
  const uint64_t hash = hash_bytes(data, size);
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    Slot& slot = slots_[at];
    if (slot.index < 0) {
      slot = {hash, count};
      bytes.append(data, size);
      offsets.push(static_cast<int32_t>(bytes.size()));
      return count++;
    }
    if (slot.hash != hash) continue;
    const int32_t* place = offsets.as<int32_t>() + slot.index;
    if (static_cast<size_t>(place[1] - place[0]) == size && !std::memcmp(bytes.data() + place[0], data, size)) return slot.index;
  }
}

void Dictionary::rehash() {
  std::vector<Slot> old(slots_.empty() ? 64 : slots_.size() * 2, Slot{0, -1});
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.index < 0) continue;
    size_t at = slot.hash & mask;
    while (slots_[at].index >= 0) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

void Values::truncate(int64_t kept) {
  count = kept;
  if (kind == Kind::kInt64) {
    data.set_size(kept * 8);
  } else if (kind == Kind::kFloat || dictionary) {
    data.set_size(kept * 4);
  } else {
    offsets.set_size((kept + 1) * 4);
    data.set_size(offsets.as<int32_t>()[kept]);
  }
}

Column::Column(const FieldSpec& field) : spec(field) {
  values.kind = field.kind;
  values.dictionary = field.dictionary && field.kind == Kind::kBytes;
  if (field.kind == Kind::kBytes && !values.dictionary) values.offsets.push<int32_t>(0);
  if (field.shape == Shape::kList || has_frames(field.shape)) list_offsets.push<int32_t>(0);
  if (field.shape == Shape::kVarFrames) frame_offsets.push<int32_t>(0);
}

void Column::rollback(const Mark& mark) {
  rows = mark.rows;
  nulls = mark.nulls;
  frames = mark.frames;
  values.truncate(mark.values);
  if (spec.shape == Shape::kList || has_frames(spec.shape)) list_offsets.set_size((rows + 1) * 4);
  if (spec.shape == Shape::kVarFrames) frame_offsets.set_size((frames + 1) * 4);
  if (validity.size()) {
    validity.set_size((rows + 7) / 8);
    if (rows % 8) validity.data()[rows / 8] &= static_cast<uint8_t>((1u << (rows % 8)) - 1);
  }
}

void Column::push_validity(uint64_t bits, int n) {
  const int shift = static_cast<int>(rows % 8);
  validity.reserve(16);
  if (n < 64) bits &= (1ull << n) - 1;
  nulls += n - __builtin_popcountll(bits);
  if (shift == 0) {
    std::memcpy(validity.end(), &bits, 8);
    validity.set_size(validity.size() + (n + 7) / 8);
  } else {
    uint8_t* last = validity.end() - 1;
    *last |= static_cast<uint8_t>(bits << shift);
    const int left = n - (8 - shift);
    if (left > 0) {
      bits >>= 8 - shift;
      std::memcpy(last + 1, &bits, 8);
      validity.set_size(validity.size() + (left + 7) / 8);
    }
  }
  rows += n;
}

void Column::push_default() {
  for (int64_t value : spec.default_ints) values.push_int(value);
  for (float value : spec.default_floats) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    values.push_float(bits);
  }
  for (const std::string& value : spec.default_bytes)
    values.push_bytes(reinterpret_cast<const uint8_t*>(value.data()), value.size());
}

void Column::export_to(ArrowArray* out) {
  if (is_scalar(spec.shape)) return export_values(values, std::move(validity), nulls, out);
  auto* child = new ArrowArray;
  export_values(values, Buffer(), 0, child);
  if (spec.shape == Shape::kFixedFrames || spec.shape == Shape::kVarFrames) {
    auto* frame = new ArrowArray;
    std::vector<Buffer> buffers = list_of(Buffer());
    if (spec.shape == Shape::kVarFrames) buffers.push_back(std::move(frame_offsets));
    fill(frame, frames, 0, std::move(buffers), {child});
    child = frame;
  }
  Buffer valid = nulls ? std::move(validity) : Buffer();
  if (spec.shape != Shape::kFixedList) return fill(out, rows, nulls, list_of(std::move(valid), std::move(list_offsets)), {child});
  fill(out, rows, nulls, list_of(std::move(valid)), {child});
}

ArrowArray* export_batch(std::vector<Column>& columns, int64_t rows) {
  std::vector<ArrowArray*> children;
  for (Column& column : columns) {
    children.push_back(new ArrowArray);
    column.export_to(children.back());
  }
  auto* batch = new ArrowArray;
  fill(batch, rows, 0, list_of(Buffer()), std::move(children));
  return batch;
}

}  // namespace fullpass
