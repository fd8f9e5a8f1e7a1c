#include "feed/plain_columns.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace fullpass {
namespace {

// An unknown count (-1) may be of no nulls at all: then there is no bitmap.
bool none_missing(const ArrowArray& array) {
  return array.null_count == 0 || (array.n_buffers > 0 && array.buffers && !array.buffers[0]);
}

// The size of lists of Arrow format "+w:SIZE", or -1.
int64_t list_size(const char* format) {
  if (std::strncmp(format, "+w:", 3) != 0) return -1;
  char* end = nullptr;
  const long long size = std::strtoll(format + 3, &end, 10);
  return *end == '\0' && size > 0 ? size : -1;
}

}  // namespace

const uint8_t* plain_values(const ArrowSchema& schema, const ArrowArray& batch, const WantedColumn& wanted, size_t place) {
  const int64_t columns = std::min(schema.n_children, batch.n_children);
  if (columns < 0 || place >= static_cast<size_t>(columns) || batch.offset != 0) return nullptr;
  const ArrowSchema* field = schema.children[place];
  const ArrowArray* array = batch.children[place];
  if (!field->name || wanted.name != field->name || array->length != batch.length) return nullptr;
  if (field->dictionary || !none_missing(*array)) return nullptr;
  int64_t first = array->offset, width = 1;
  if (const int64_t size = list_size(field->format); size > 0) {
    if (field->n_children != 1 || array->n_children != 1) return nullptr;
    int64_t last;
    if (__builtin_add_overflow(first, array->length, &last) || __builtin_mul_overflow(first, size, &first) ||
        __builtin_mul_overflow(last, size, &last))
      return nullptr;
    width = size;
    field = field->children[0];
    array = array->children[0];
    if (field->dictionary || array->length < last || !none_missing(*array)) return nullptr;
    first += array->offset;
  }
  if (std::strcmp(field->format, wanted.item == 4 ? "f" : "l") != 0 || static_cast<size_t>(width) != wanted.width ||
      array->n_buffers != 2 || !array->buffers[1])
    return nullptr;
  return static_cast<const uint8_t*>(array->buffers[1]) + static_cast<size_t>(first) * wanted.item;
}

}  // namespace fullpass
