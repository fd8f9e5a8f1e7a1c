#include "text/csv_escapes.h"

#include <cstring>

namespace fullpass {
namespace {

// One value from its beginning to the delimiter or line end behind it.
class Value {
 public:
  Value(std::string_view data, size_t begin, const EscapedDialect& dialect, bool at_end)
      : data_(data), begin_(begin), content_(begin), at_(begin), dialect_(dialect), at_end_(at_end) {}

  // Whether it ends in the data.
  bool read() {
    const bool quoted = dialect_.quote >= 0 && at_ < data_.size() && byte(at_) == dialect_.quote;
    return quoted ? read_quoted() : read_plain();
  }

  size_t end() const { return at_; }
  bool dangling() const { return dangling_; }

  void write(std::string& out) const {
    const std::string_view raw = data_.substr(begin_, at_ - begin_);
    if (!rewritten_ || (plain_ && dialect_.kept.count(std::string(raw)))) {
      out.append(raw);
      return;
    }
    out.push_back(static_cast<char>(dialect_.written_quote));
    for (const char letter : text_) {
      if (static_cast<uint8_t>(letter) == dialect_.written_quote) out.push_back(letter);
      out.push_back(letter);
    }
    if (closed_) out.push_back(static_cast<char>(dialect_.written_quote));
    out.append(rest_);
  }

 private:
  uint8_t byte(size_t at) const { return static_cast<uint8_t>(data_[at]); }
  bool is_end(size_t at) const { return byte(at) == dialect_.delimiter || data_[at] == '\n' || data_[at] == '\r'; }

  // From here on the value is not what the file has: it is put together.
  void rewrite() {
    if (!rewritten_) text_.assign(data_.substr(content_, at_ - content_));
    rewritten_ = true;
  }

  void take() {
    if (rewritten_) text_.push_back(data_[at_]);
    ++at_;
  }

  // Takes an escape character and what it escapes; false where that is not there yet.
  bool take_escaped() {
    rewrite();
    if (at_ + 1 < data_.size()) {
      text_.push_back(data_[at_ + 1]);
      at_ += 2;
      return true;
    }
    dangling_ = at_end_;
    ++at_;
    return at_end_;
  }

  bool read_plain() {
    plain_ = true;
    while (at_ < data_.size() && !is_end(at_)) {
      if (byte(at_) == dialect_.escape) {
        if (!take_escaped()) return false;
        continue;
      }
      if (dialect_.quote < 0 && byte(at_) == dialect_.written_quote) rewrite();
      take();
    }
    return at_ < data_.size() || at_end_;
  }

  bool read_quoted() {
    content_ = ++at_;
    while (at_ < data_.size()) {
      if (byte(at_) == dialect_.escape) {
        if (!take_escaped()) return false;
        continue;
      }
      if (byte(at_) != dialect_.quote) {
        take();
        continue;
      }
      if (at_ + 1 >= data_.size() && !at_end_) return false;
      if (at_ + 1 >= data_.size() || byte(at_ + 1) != dialect_.quote) return read_rest(++at_);
      rewrite();
      text_.push_back(data_[at_]);
      at_ += 2;
    }
    closed_ = false;
    return at_end_;
  }

  // What follows the closing quote: nothing but blanks in a whole file.
  bool read_rest(size_t from) {
    while (at_ < data_.size() && !is_end(at_)) ++at_;
    rest_ = data_.substr(from, at_ - from);
    return at_ < data_.size() || at_end_;
  }

  std::string_view data_;
  size_t begin_, content_, at_;
  const EscapedDialect& dialect_;
  bool at_end_;
  bool rewritten_ = false, plain_ = false, closed_ = true, dangling_ = false;
  std::string text_;
  std::string_view rest_;
};

}  // namespace

size_t rewrite_escapes(std::string_view data, const EscapedDialect& dialect, bool at_end, std::string& out, bool& dangling) {
  size_t taken = 0;
  dangling = false;
  while (taken < data.size()) {
    Value value(data, taken, dialect, at_end);
    if (!value.read()) break;
    value.write(out);
    dangling = dangling || value.dangling();
    taken = value.end();
    if (taken < data.size()) out.push_back(data[taken++]);  // the delimiter, or (a byte of) a line end
  }
  return taken;
}

}  // namespace fullpass
