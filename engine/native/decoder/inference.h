// What features, and feature lists, records hold, for inferring a schema.
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "decoder/feature.h"
#include "decoder/wire.h"

namespace fullpass {

// Of a feature, or of a feature list: then by frame.
struct Seen {
  uint32_t kinds = 0;    // bit k: kind k (1 bytes, 2 float, 3 int64) was set
  int64_t present = 0;   // records that set a kind; of a feature list: that have it
  int64_t least = -1;    // values a record, where present
  int64_t most = 0;
};

class Inference {
 public:
  // Returns false where the payload is not a tf.Example; what was seen before stays.
  bool observe(const uint8_t* payload, size_t size);
  int64_t records = 0;
  using ByName = std::map<std::string, Seen, std::less<>>;
  ByName features, lists;

 private:
  using Entries = std::map<std::string_view, Span>;  // the last of a key wins
  static bool find_entries(const uint8_t* p, const uint8_t* end, Entries* entries);
  static bool find_entry(const uint8_t* p, const uint8_t* end, Entries* entries);
  bool observe_list(const uint8_t* p, const uint8_t* end, Seen* seen);
  void observe_value(Seen* seen) const;
  static Seen& named(ByName& all, std::string_view name);
  Entries features_, lists_;  // of the record at hand
  FeatureValues scratch_;
};

}  // namespace fullpass
