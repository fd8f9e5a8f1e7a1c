// What features records hold, for inferring a schema.
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "feature.h"
#include "wire.h"

namespace fullpass {

struct Seen {
  uint32_t kinds = 0;    // bit k: kind k (1 bytes, 2 float, 3 int64) was set
  int64_t present = 0;   // records that set a kind
  int64_t least = -1;    // values a record, where present
  int64_t most = 0;
};

class Inference {
 public:
  // Returns false where the payload is not a tf.Example; what was seen before stays.
  bool observe(const uint8_t* payload, size_t size);
  int64_t records = 0;
  std::map<std::string, Seen, std::less<>> features;

 private:
  bool observe_entry(const uint8_t* p, const uint8_t* end);
  std::map<std::string_view, Span> last_;  // of the record at hand: the last entry of a key wins
  FeatureValues scratch_;
};

}  // namespace fullpass
