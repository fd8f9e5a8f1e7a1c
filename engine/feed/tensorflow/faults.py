"""Errors of a feed behind tf.data: TensorFlow gives back their text inside of its own error, here they come back themselves."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["noting", "original_faults"]

# The last few that generators of this process raised. Matched by their text, so that none is taken for another's.
_KEPT = 8
_noted: list[Exception] = []


def noting(generate: Callable[[], Iterator[Any]]) -> Callable[[], Iterator[Any]]:
    """Returns a generator function whose errors are kept for `original_faults`."""

    @functools.wraps(generate)
    def generated() -> Iterator[Any]:
        try:
            yield from generate()
        except Exception as error:
            _noted.append(error)
            del _noted[:-_KEPT]
            raise

    return generated


@contextlib.contextmanager
def original_faults() -> Iterator[None]:
    """Raises, in place of an error of TensorFlow that repeats what a feed raised, that error: with its type, path and record."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        text = str(error)
        for original in reversed(_noted):
            if f"{type(original).__name__}: {original}" in text:
                raise original from None
        raise
