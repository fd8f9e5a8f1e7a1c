"""Encoded states of a data set's analyzers as elements of TFT's analyzer cache: versioned, checked, no pickle.

TFT keeps one entry an analyzer, each a stage and a file of its own. Here one entry holds the states of all analyzers of a data set:
its key is a hash of all that they depend on besides the data, so it is found again exactly when all of them can be used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import zlib
from collections.abc import Iterator

from engine.core.errors import DataError
from transforms.cache.cache import Unsealed
from transforms.cache.state_keys import analyzer_key
from transforms.passes.phases import PhasePlan
from transforms.runners.beam.stages import key_of

__all__ = ["decode_state", "encode_states", "entry_key", "unsealed"]

_PREFIX = b"__fullpass_v1__"
_MAGIC = b"FPS1"
_HEAD = struct.Struct("<4sIII")  # magic, analyzer, part, CRC-32 of what follows
_Parts = list[tuple[int, int, bytes]]


def entry_key(plan: PhasePlan) -> bytes | None:
    """Returns the key of the entry of a first phase; None where nothing of it may be kept.

    Args:
        plan: of the first phase.
    """
    if plan.needs_saved_model or not plan.analyzers:
        return None
    bound = plan.bind({})
    digest = hashlib.blake2b(digest_size=20)
    for analyzer in plan.analyzers:
        key = analyzer_key(bound, analyzer, None)
        if key is None:
            return None
        digest.update(key.encode())
    return _PREFIX + digest.hexdigest().encode()


def unsealed(plan: PhasePlan) -> PhasePlan:
    """Returns the plan with states that stay mergeable with those of other data sets."""
    return dataclasses.replace(
        plan,
        analyzers=tuple(dataclasses.replace(each, accumulator=Unsealed(each.accumulator)) for each in plan.analyzers),
    )


def encode_states(parts: _Parts) -> Iterator[bytes]:
    """Yields one element a part: [(analyzer, part, blob)]."""
    for analyzer, part, blob in parts:
        yield _HEAD.pack(_MAGIC, analyzer, part, zlib.crc32(blob)) + blob


def decode_state(element: bytes) -> tuple[int, _Parts]:
    """Returns (key to group by, [(analyzer, part, blob)]) of an element.

    Raises:
        DataError: for an element that is not a state, or a damaged one.
    """
    if len(element) < _HEAD.size or not element.startswith(_MAGIC):
        raise DataError(
            f"an element of the analyzer cache begins with {element[:4]!r}, not {_MAGIC!r}: delete the cache"
        )
    _, analyzer, part, checksum = _HEAD.unpack_from(element)
    blob = element[_HEAD.size :]
    if zlib.crc32(blob) != checksum:
        raise DataError(
            f"part {part} of analyzer {analyzer} in the analyzer cache has another checksum: delete the cache"
        )
    return key_of(analyzer, part), [(analyzer, part, blob)]
