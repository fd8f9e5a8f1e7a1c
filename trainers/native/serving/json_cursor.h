// A strict reader of JSON text, a token at a time: it takes what every reader of JSON understands alike, and refuses the rest.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace fullpass {

class JsonCursor {
 public:
  JsonCursor(const char* data, size_t size) : at_(data), end_(data + size) {}

  // Skips white space, then takes this character if it is next.
  bool take(char wanted) {
    skip();
    if (at_ == end_ || *at_ != wanted) return false;
    ++at_;
    return true;
  }
  // Whether this character is next, after white space.
  bool next_is(char wanted) {
    skip();
    return at_ != end_ && *at_ == wanted;
  }
  // Whether only white space is left.
  bool at_end() {
    skip();
    return at_ == end_;
  }
  const char* position() const { return at_; }

  // Appends a string's UTF-8. False for a lone surrogate, bytes that are no UTF-8, or anything that is not a string.
  bool string(std::string* out);
  // Appends the bytes of a string of base64; false unless it is what an encoder writes.
  bool base64(std::string* out);
  // A number without fraction and exponent that fits 64 bits.
  bool integer(int64_t* out);
  // Goes past a list without a look at what is in it but strings and brackets.
  bool skip_list();
  // Any number that is neither infinite nor, where it has no fraction and exponent, beyond 2^53.
  bool floating(double* out);

 private:
  void skip() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }
  // The end of the number that starts here by JSON's grammar, or null; `whole` says that it has neither fraction nor exponent.
  const char* number_end(bool* whole) const;
  bool escape(std::string* out);
  bool utf8(std::string* out);

  const char* at_;
  const char* end_;
};

}  // namespace fullpass
