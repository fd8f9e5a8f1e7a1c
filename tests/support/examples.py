"""Random tf.Examples and tf.SequenceExamples on the wire, in every shape protobuf allows, and messages that were changed there."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

__all__ = [
    "changed_messages",
    "delimited",
    "encode_example",
    "encode_feature",
    "encode_sequence_example",
    "features",
    "varint",
    "wire_examples",
    "wire_sequence_examples",
]

KEYS = ["a", "b", "label", "a_much_longer_feature_name", "ü", "x" * 130]
ints = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(width=32, allow_nan=False)
texts = st.binary(max_size=40) | st.binary(min_size=120, max_size=300)
features = st.one_of(
    st.tuples(st.just(3), st.lists(ints, max_size=5)),
    st.tuples(st.just(2), st.lists(floats, max_size=5)),
    st.tuples(st.just(1), st.lists(texts, max_size=4)),
)


def varint(value: int) -> bytes:
    """Returns protobuf's varint of a 64-bit value."""
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(field: int, payload: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def encode_feature(kind: int, values: list[Any], packed: bool) -> bytes:
    """Returns a tf.Feature; numbers packed or one by one."""
    if kind == 1:
        body = b"".join(delimited(1, value) for value in values)
    elif kind == 2:
        raw = [struct.pack("<f", value) for value in values]
        body = (delimited(1, b"".join(raw)) if raw else b"") if packed else b"".join(b"\x0d" + value for value in raw)
    else:
        raw = [varint(value) for value in values]
        body = (delimited(1, b"".join(raw)) if raw else b"") if packed else b"".join(b"\x08" + value for value in raw)
    return delimited(kind, body)


def encode_example(entries: list[tuple[str, bytes]], *, value_first: bool = False) -> bytes:
    """Returns a tf.Example of (key, serialized feature) entries, in order, duplicates and all."""
    body = b""
    for key, value in entries:
        parts = [delimited(1, key.encode()), delimited(2, value)]
        body += delimited(1, b"".join(reversed(parts) if value_first else parts))
    return delimited(1, body)


@st.composite
def wire_examples(draw: Any) -> bytes:
    """Draws a serialized tf.Example: any order, duplicate keys, empty features, packed and unpacked, keys after values."""
    entries = draw(st.lists(st.tuples(st.sampled_from(KEYS), features, st.booleans()), max_size=9))
    encoded = [(key, encode_feature(kind, values, packed)) for key, (kind, values), packed in entries]
    if draw(st.booleans()):
        encoded.append((draw(st.sampled_from(KEYS)), b""))  # named, without a kind
    return encode_example(encoded, value_first=draw(st.booleans()))


def encode_sequence_example(
    context: list[tuple[str, bytes]],
    lists: list[tuple[str, list[bytes]]],
    *,
    lists_first: bool = False,
    junk: bytes = b"",
) -> bytes:
    """Returns a tf.SequenceExample of (key, serialized feature) and (key, serialized features, one a frame) entries, in order.

    `junk`, whole fields that no message here knows, goes between the frames and behind all.
    """
    entries = b""
    for key, frames in lists:
        value = junk.join(delimited(1, frame) for frame in frames) + junk
        entries += delimited(1, delimited(1, key.encode()) + delimited(2, value))
    parts = [encode_example(context), delimited(2, entries)]
    return b"".join(reversed(parts) if lists_first else parts) + junk


@st.composite
def wire_sequence_examples(draw: Any) -> bytes:
    """Draws a serialized tf.SequenceExample: any order, duplicate keys, frames of any kinds or of none, unknown fields."""
    frame = st.builds(lambda feature, packed: encode_feature(*feature, packed), features, st.booleans()) | st.just(b"")
    context = draw(st.lists(st.tuples(st.sampled_from(KEYS), frame), max_size=4))
    one_kind = st.sampled_from([1, 2, 3]).flatmap(
        lambda kind: st.lists(
            st.builds(
                lambda feature, packed: encode_feature(*feature, packed) if feature[1] else b"",
                features.filter(lambda feature: feature[0] == kind),
                st.booleans(),
            ),
            max_size=6,
        )
    )
    parts = draw(st.lists(st.lists(st.tuples(st.sampled_from(KEYS), one_kind), max_size=5), min_size=1, max_size=2))
    junk = draw(st.sampled_from([b"", b"\x1a\x02ab", b"\x23\x08\x01\x24", b"\x28\x80\x01"]))
    first, *rest = [
        encode_sequence_example(context if index == 0 else [], lists, lists_first=draw(st.booleans()), junk=junk)
        for index, lists in enumerate(parts)
    ]
    return first + b"".join(rest)


@st.composite
def changed_messages(draw: Any, message: bytes, least: int) -> bytes:
    """Draws what is left of a message after from `least` to 3 changes: of a byte, without a byte or its end, or some of it twice."""
    body = bytearray(message)
    for _ in range(draw(st.integers(least, 3))):
        at = draw(st.integers(0, len(body) - 1))
        change = draw(st.sampled_from(["byte", "cut", "drop", "twice"]))
        if change == "byte":
            body[at] = draw(st.integers(0, 255))
        elif change == "cut" and at:
            del body[at:]
        elif change == "drop" and len(body) > 1:
            del body[at]
        else:
            body += body[at : at + draw(st.integers(1, 60))]
    return bytes(body)
