// Whether the bytes of a request are a tf.Example of known fields only, each of them whole.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fullpass {

// True where every field is one that tf.Example has, written with a tag of one byte, and every length lies within its message.
// TensorFlow's parser may be handed such bytes. Anything else may still be an Example to protobuf, which decides.
// Where the Example stands in a message, protobuf refuses names that are no UTF-8: kAscii leaves all but ASCII to it.
enum class Names { kAny, kAscii };
bool is_plain_example(const uint8_t* data, size_t size, Names names = Names::kAny);

}  // namespace fullpass
