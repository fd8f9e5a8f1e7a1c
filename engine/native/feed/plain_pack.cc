#include "feed/plain_pack.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "feed/feed_pack.h"

namespace fullpass {
namespace {

// Frees what a producer lent, also where something throws.
template <typename Lent>
struct Borrowed : Lent {
  Borrowed() : Lent{} {}
  Borrowed(const Borrowed&) = delete;
  ~Borrowed() {
    if (this->release) this->release(this);
  }
};

// The places of columns in a batch whose order is another than that of the packed columns.
class Places {
 public:
  explicit Places(const ArrowSchema& schema) : schema_(schema) {}

  size_t of(const WantedColumn& wanted) {
    if (stands_at(wanted)) return wanted.place;
    if (by_name_.empty())
      for (int64_t i = 0; i < schema_.n_children; ++i)
        if (const char* name = schema_.children[i]->name) by_name_.emplace(name, static_cast<size_t>(i));
    const auto found = by_name_.find(wanted.name);
    return found == by_name_.end() ? wanted.place : found->second;
  }

 private:
  bool stands_at(const WantedColumn& wanted) const {
    if (wanted.place >= static_cast<size_t>(std::max<int64_t>(0, schema_.n_children))) return false;
    const char* name = schema_.children[wanted.place]->name;
    return name && wanted.name == name;
  }

  const ArrowSchema& schema_;
  std::unordered_map<std::string_view, size_t> by_name_;
};

}  // namespace

std::vector<size_t> pack_plain(const std::vector<WantedColumn>& columns, const ArrowSchema& schema, const ArrowArray& batch,
                               const std::vector<PackedRows>& outs, size_t first) {
  const auto rows = static_cast<size_t>(batch.length);
  std::vector<std::vector<PackColumn>> packed(outs.size());
  std::vector<size_t> left;
  Places places(schema);
  for (size_t i = 0; i < columns.size(); ++i) {
    const WantedColumn& wanted = columns[i];
    const auto out = std::find_if(outs.begin(), outs.end(), [&](const PackedRows& o) { return o.item == wanted.item; });
    if (out == outs.end() || wanted.start > out->slots || wanted.width > out->slots - wanted.start)
      throw std::invalid_argument("a column has no slots in the packed arrays");
    const uint8_t* values = rows ? plain_values(schema, batch, wanted, places.of(wanted)) : nullptr;
    if (values) {
      packed[static_cast<size_t>(out - outs.begin())].push_back({values, wanted.start, wanted.width});
    } else {
      left.push_back(i);
    }
  }
  for (size_t i = 0; i < outs.size(); ++i)
    pack_rows(packed[i], rows, outs[i].slots, outs[i].item, outs[i].to + first * outs[i].slots * outs[i].item);
  return left;
}

bool pack_stream(const std::vector<WantedColumn>& columns, ArrowArrayStream& lent, const std::vector<PackedRows>& outs,
                 size_t rows) {
  Borrowed<ArrowArrayStream> stream;
  static_cast<ArrowArrayStream&>(stream) = lent;
  lent.release = nullptr;
  Borrowed<ArrowSchema> schema;
  if (!stream.release || stream.get_schema(&stream, &schema)) return false;
  for (size_t done = 0;;) {
    Borrowed<ArrowArray> batch;
    if (stream.get_next(&stream, &batch)) return false;
    if (!batch.release) return done == rows;  // the end of the stream
    if (batch.length < 0 || static_cast<size_t>(batch.length) > rows - done) return false;
    if (batch.length && !pack_plain(columns, schema, batch, outs, done).empty()) return false;
    done += static_cast<size_t>(batch.length);
  }
}

}  // namespace fullpass
