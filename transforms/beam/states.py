"""Encoded states of a data set's analyzers as elements of TFT's analyzer cache: versioned, checked, no pickle.

TFT keeps one entry an analyzer, each a stage and a file of its own. Here one entry holds the states of all analyzers of a data set:
its key is a hash of all that they depend on besides the data, so it is found again exactly when all of them can be used.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

from engine.storage.frames import MALFORMED, Frame
from transforms.cache.cache import Unsealed
from transforms.cache.state_keys import analyzer_key
from transforms.passes.phases import PhasePlan
from transforms.runners.beam.stages import key_of

__all__ = ["decode_state", "encode_states", "entry_key", "unsealed"]

_PREFIX = b"__fullpass_v2__"  # entries of version 1, whose analyzer and part had no checksum, are not looked for
_FRAME = Frame(magic=b"FPBS", version=2, name="an element of the analyzer cache", remedy="delete the cache")
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
        yield b"".join(_FRAME.pack({}, [((analyzer, part), blob)]))


def decode_state(element: bytes) -> tuple[int, _Parts]:
    """Returns (key to group by, [(analyzer, part, blob)]) of an element.

    Raises:
        DataError: for an element that is not a state, or a damaged one.
    """
    _, blobs = _FRAME.unpack(element)
    try:
        (((analyzer, part), blob),) = blobs
        return key_of(analyzer, part), [(analyzer, part, bytes(blob))]
    except MALFORMED as error:
        raise _FRAME.damaged(error) from error
