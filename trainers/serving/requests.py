"""Serialized tf.Examples of strangers, checked before TensorFlow parses them.

TensorFlow's own parser ends the process on a length of 2^31 or more in a value (seen with 2.21: a request of 27 bytes).
"""

from __future__ import annotations

from collections.abc import Iterable

from engine import _native
from engine.core.errors import DataError

__all__ = ["well_formed"]


def well_formed(examples: Iterable[bytes]) -> list[bytes]:
    """Returns the examples as TensorFlow may be given them.

    Those of known fields with every length inside its message go on as they are; any other is parsed and written anew by
    protobuf, whose own messages hold no such length.

    Raises:
        DataError: an element is not a tf.Example; `record` says which.
    """
    out = [bytes(example) for example in examples]
    for position in _native.unplain_examples(out):
        out[position] = _written_anew(out[position], position)
    return out


def _written_anew(example: bytes, position: int) -> bytes:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    # As SequenceExamples, which hold all that an Example does and feature lists too.
    message = tf.train.SequenceExample()
    try:
        message.ParseFromString(example)
    except DecodeError as error:
        raise DataError(f"the request is not a tf.Example: {error}", record=position) from None
    message.DiscardUnknownFields()  # nobody has looked into them
    return bytes(message.SerializeToString())
