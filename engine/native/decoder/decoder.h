// tf.Example and tf.SequenceExample records to Arrow columns.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "decoder/columns.h"
#include "decoder/feature.h"
#include "framing/framing.h"
#include "feed/key_index.h"
#include "feed/row_plan.h"

namespace fullpass {

enum class FaultCode { kChecksum = 0, kMalformed = 1, kMismatch = 2, kUnknownFeature = 3 };

struct Fault {
  FaultCode code;
  int64_t record;  // index in the list of records handed in
  std::string message;
};

struct DecodeOptions {
  bool verify = true;   // payload checksums (which then follow each payload in the buffer)
  bool strict = false;  // an unknown feature is a fault
  bool skip = false;    // leave faulty records out instead of stopping at the first
};

// Decodes runs of records into columns. One thread at a time.
class Decoder {
 public:
  Decoder(const std::vector<FieldSpec>& fields, DecodeOptions options);
  // Decodes records [first, first + count); on return faults() says what was wrong. Without `skip` it stops at a fault.
  void decode(const uint8_t* data, size_t size, const Record* records, int64_t first, int64_t count);
  // Hands over the columns decoded so far. With `more`, room for as many again is made at once.
  ArrowArray* finish(bool more = false);
  void forget_faults() { faults_.clear(); }
  const std::vector<Fault>& faults() const { return faults_; }
  int64_t rows() const { return rows_; }

 private:
  static constexpr int kBlock = RowPlan::kRows;  // records whose features are found before columns are filled
  struct Item {
    const uint8_t* payload;
    uint32_t size;
    int64_t record;
  };

  bool verify(const Item& item);
  int decode_usual(const uint8_t* data, const Record* records, int64_t first, int64_t count);
  bool fill_slotted(int count);
  bool decode_general(int count);
  bool decode_block(int count);
  bool find_features(const Item& item, int row);
  bool find_entries(KeyIndex& keys, const uint8_t* p, const uint8_t* end, int row);
  bool find_entry(KeyIndex& keys, const uint8_t* p, const uint8_t* end, int row);
  int read_entry(KeyIndex& keys, const uint8_t* p, const uint8_t* end, Span* value);
  bool fill_column(size_t index, int count, int* bad);
  template <Kind kKind>
  bool fill_scalars(Column& column, const Slot* slots, int count, int* bad);
  template <Kind kKind>
  int fill_run(Values& values, const Slot* slots, int count, uint64_t& validity, int first);
  template <Kind kKind>
  bool append_scalar(Column& column, const uint8_t* p, size_t size, bool* valid);
  template <Kind kKind>
  bool append_list(Column& column, const uint8_t* p, size_t size, bool* valid);
  template <Kind kKind>
  bool fill_lists(Column& column, const Slot* slots, int count, int* bad);
  template <Kind kKind>
  bool fill_frames(Column& column, const Slot* slots, int count, int* bad);
  template <Kind kKind>
  bool append_frames(Column& column, const uint8_t* p, const uint8_t* end);
  size_t append_floats(Column& column, const uint8_t* p, const uint8_t* end);
  template <Kind kKind>
  bool append_frame(Column& column, const uint8_t* p, size_t size);
  template <Kind kKind>
  bool fill_shape(Column& column, const Slot* slots, int count, int* bad);
  bool absent(Column& column);
  std::string place_of(const Column& column) const;
  bool parse_slow(const Column& column, const uint8_t* p, size_t size);
  void push_slow(Values& values);
  void fault(FaultCode code, const Item& item, std::string message);

  const std::vector<FieldSpec>& fields_;
  const DecodeOptions options_;
  KeyIndex keys_;   // of features
  KeyIndex lists_;  // of feature lists
  const bool frames_;      // whether any column is a feature list
  const bool read_lists_;  // else they are passed over as any field that the schema does not know
  RowPlan plan_;
  std::vector<Column> columns_;
  std::vector<Slot> slots_;  // [column][row of the block]
  Item block_[kBlock];
  const uint8_t* base_ = nullptr;
  const uint8_t* readable_ = nullptr;
  int64_t frames_before_ = 0;  // in the column, when the record at hand began
  std::vector<Mark> marks_;  // of the columns before the block at hand
  FeatureValues scratch_;
  std::string reason_;
  FaultCode code_ = FaultCode::kMalformed;
  std::vector<Fault> faults_;
  int64_t rows_ = 0;
};

}  // namespace fullpass
