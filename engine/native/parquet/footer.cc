#include "parquet/footer.h"

#include <string_view>

#include "parquet/thrift.h"

namespace fullpass {
namespace {

constexpr int32_t kRepeated = 2;
constexpr int32_t kMostDeep = 128;  // groups in groups
const char* const kTypes[] = {"BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"};

std::string type_name(int64_t type) {
  return type >= 0 && type < 8 ? kTypes[type] : "number " + std::to_string(type);
}

// Writers are asked for numbers of one size, but the protocol stores all alike.
bool is_integer(int type) { return type == kI16 || type == kI32 || type == kI64; }

struct Element {
  std::string name;
  int64_t type = -1, repetition = 0, children = 0;
};

struct Chunk {
  bool described = false;
  int64_t type = -1, values = 0, compressed = 0, uncompressed = 0, nulls = -1, text_bytes = -1, data_page = 0, dictionary_page = 0;
  std::string path;
};

class FooterReader {
 public:
  FooterReader(const uint8_t* data, size_t size) : in_(data, size) {}

  ParquetFooter read() {
    // The schema comes before the row groups in every file known, but Thrift promises no order.
    size_t schema = 0, groups = 0;
    in_.fields([&](int32_t number, int type) {
      if (number == 2 && type == kList) schema = in_.at();
      if (number == 4 && type == kList) groups = in_.at();
      if (number != 3 || !is_integer(type)) return false;
      out_.rows = in_.integer();
      return true;
    });
    if (!schema) in_.fail("there is no schema");
    in_.seek(schema);
    read_schema();
    if (groups) {
      in_.seek(groups);
      read_groups();
    }
    int64_t rows = 0;
    for (const int64_t of_group : out_.group_rows)
      if (__builtin_add_overflow(rows, of_group, &rows)) in_.fail("the row groups have more rows than there can be");
    if (rows != out_.rows)
      in_.fail(("the file has " + std::to_string(out_.rows) + " rows, its row groups have " + std::to_string(rows)).c_str());
    return std::move(out_);
  }

 private:
  void read_schema() {
    int type = 0;
    const size_t length = in_.list(&type);
    std::vector<Element> elements;
    for (size_t i = 0; i < length; ++i) {
      if (type != kStruct) in_.fail("the schema is no list of columns");
      elements.push_back(read_element());
    }
    if (elements.empty()) in_.fail("the schema is empty");
    size_t next = 1;
    for (int64_t i = 0; i < elements[0].children; ++i) next = add_element(elements, next, "", false, 0);
    if (next != elements.size()) in_.fail("the schema has columns that belong to no group");
  }

  Element read_element() {
    Element found;
    in_.fields([&](int32_t number, int type) {
      if (number == 4 && type == kBinary) return found.name = in_.binary(), true;
      int64_t* to = number == 1 ? &found.type : number == 3 ? &found.repetition : number == 5 ? &found.children : nullptr;
      if (!to || !is_integer(type)) return false;
      *to = in_.integer();
      return true;
    });
    return found;
  }

  // Adds the leaves of element `index`, depth first; returns the index behind it and all below it.
  size_t add_element(const std::vector<Element>& elements, size_t index, const std::string& above, bool repeated, int32_t depth) {
    if (index >= elements.size()) in_.fail("the schema has a group with fewer columns than it says");
    if (depth > kMostDeep) in_.fail("the schema is nested too deeply");
    const Element& element = elements[index++];
    const std::string path = above.empty() ? element.name : above + "." + element.name;
    repeated = repeated || element.repetition == kRepeated;
    if (element.type >= 0 && !element.children) {
      out_.leaves.push_back({path, static_cast<int32_t>(element.type), repeated});
      return index;
    }
    for (int64_t i = 0; i < element.children; ++i) index = add_element(elements, index, path, repeated, depth + 1);
    return index;
  }

  void read_groups() {
    int type = 0;
    const size_t length = in_.list(&type);
    for (size_t group = 0; group < length; ++group) {
      if (type != kStruct) in_.fail("the row groups are no list of such");
      read_group(group);
    }
  }

  void read_group(size_t group) {
    int64_t rows = -1, bytes = 0;
    std::vector<Chunk> chunks;
    std::vector<size_t> places;
    in_.fields([&](int32_t number, int type) {
      if (number == 1 && type == kList) {
        int inner = 0;
        const size_t length = in_.list(&inner);
        for (size_t i = 0; i < length; ++i) {
          if (inner != kStruct) in_.fail("the columns of a row group are no list of such");
          places.push_back(in_.at());
          chunks.push_back(read_chunk());
        }
        return true;
      }
      int64_t* to = number == 2 ? &bytes : number == 3 ? &rows : nullptr;
      if (!to || !is_integer(type)) return false;
      *to = in_.integer();
      return true;
    });
    const std::string name = "row group " + std::to_string(group);
    if (rows < 0) in_.fail((name + " has " + std::to_string(rows) + " rows").c_str());
    if (chunks.size() != out_.leaves.size())
      in_.fail((name + " has " + std::to_string(chunks.size()) + " columns, the schema has " +
                std::to_string(out_.leaves.size())).c_str());
    for (size_t i = 0; i < chunks.size(); ++i) add_chunk(chunks[i], out_.leaves[i], rows, name, places[i]);
    out_.group_rows.push_back(rows);
    out_.group_bytes.push_back(bytes);
  }

  Chunk read_chunk() {
    Chunk found;
    in_.fields([&](int32_t number, int type) {
      if (number != 3 || type != kStruct) return false;
      found.described = true;
      in_.fields([&](int32_t inner, int kind) { return read_chunk_field(found, inner, kind); });
      return true;
    });
    return found;
  }

  bool read_chunk_field(Chunk& found, int32_t number, int type) {
    if (number == 3 && type == kList) return read_path(found.path), true;
    if (number == 12 && type == kStruct) return read_statistics(found), true;
    if (number == 16 && type == kStruct) return read_size_statistics(found), true;
    int64_t* to = nullptr;
    switch (number) {
      case 1: to = &found.type; break;
      case 5: to = &found.values; break;
      case 6: to = &found.uncompressed; break;
      case 7: to = &found.compressed; break;
      case 9: to = &found.data_page; break;
      case 11: to = &found.dictionary_page; break;
      default: break;
    }
    if (!to || !is_integer(type)) return false;
    *to = in_.integer();
    return true;
  }

  void read_path(std::string& path) {
    int type = 0;
    const size_t length = in_.list(&type);
    for (size_t i = 0; i < length; ++i) {
      if (type != kBinary) in_.fail("the path of a column is no list of names");
      if (i) path += '.';
      path += in_.binary();
    }
  }

  void read_statistics(Chunk& found) {
    in_.fields([&](int32_t number, int type) {
      if (number != 3 || !is_integer(type)) return false;
      found.nulls = in_.integer();
      return true;
    });
  }

  void read_size_statistics(Chunk& found) {
    in_.fields([&](int32_t number, int type) {
      if (number != 1 || !is_integer(type)) return false;
      found.text_bytes = in_.integer();
      return true;
    });
  }

  void add_chunk(const Chunk& chunk, const ParquetLeaf& leaf, int64_t rows, const std::string& group, size_t place) {
    const auto refuse = [&](const std::string& what) {
      throw FooterFault("column '" + leaf.path + "' of " + group + " " + what, place);
    };
    if (!chunk.described) refuse("is not described");
    if (chunk.type != leaf.type) refuse("is of type " + type_name(chunk.type) + ", the schema says " + type_name(leaf.type));
    // Some writers leave the path out to save space.
    if (!chunk.path.empty() && chunk.path != leaf.path) refuse("is called '" + chunk.path + "' there");
    if (!leaf.repeated && chunk.values != rows)
      refuse("has " + std::to_string(chunk.values) + " values for " + std::to_string(rows) + " rows");
    if (chunk.compressed < 0 || chunk.uncompressed < 0) refuse("has a negative size");
    if (chunk.data_page < 0 || chunk.dictionary_page < 0) refuse("begins at a negative offset");
    out_.compressed.push_back(chunk.compressed);
    out_.uncompressed.push_back(chunk.uncompressed);
    out_.nulls.push_back(chunk.nulls < 0 ? -1 : chunk.nulls);
    out_.values.push_back(chunk.values);
    out_.text_bytes.push_back(chunk.text_bytes < 0 ? -1 : chunk.text_bytes);
    out_.data_page.push_back(chunk.data_page);
    out_.dictionary_page.push_back(chunk.dictionary_page);
  }

  ThriftReader in_;
  ParquetFooter out_;
};

}  // namespace

ParquetFooter read_footer(const uint8_t* data, size_t size) { return FooterReader(data, size).read(); }

}  // namespace fullpass
