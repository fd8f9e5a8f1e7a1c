"""TFT's per-batch reduction of a vocabulary, left out of the graph while it is traced.

TFT filters each batch of tokens with a regular expression in TensorFlow: some fifteen operations a vocabulary, a third of what
tracing costs, of which nothing is run, since the accumulators take the raw tokens. One operation stands in for them. All traces
of a function must be made the same way: names of tensors and fingerprints are compared between them.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow_transform import tf_utils

from transforms.patches import own_object_trackers, replaced

__all__ = ["lean_reductions"]

_lock = threading.RLock()  # TensorFlow's stack of resource trackers is global: one trace of ours at a time


@contextlib.contextmanager
def lean_reductions() -> Iterator[None]:
    """Traces unweighted vocabularies without their reduction while in the context; other threads run TFT as it is."""
    with _lock, own_object_trackers(), replaced(tf_utils, {"reduce_batch_weighted_counts": _stand_in}):
        yield


def _stand_in(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def reduce(x: Any, weights: Any = None, force: bool = False, filter_regex: str | None = None) -> Any:
        if weights is not None or force:
            return original(x, weights, force, filter_regex)
        return tf_utils.ReducedBatchWeightedCounts(tf.identity(tf_utils.get_values(x)), None, None, None)

    return reduce
