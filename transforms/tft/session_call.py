"""Running a graph of a session with as little as possible in Python.

`Session.make_callable` with feeds asks at every call what its fetches are, which for 40 columns takes milliseconds under the
interpreter's lock: threads that run a batch each wait for one another. TensorFlow's own prepared call, which Keras uses, does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from transforms.tft.versions import require

__all__ = ["prepared_call"]

require(tf.compat.v1.Session, "_make_callable_from_options", distribution="tensorflow")


def prepared_call(session: Any, feeds: Sequence[Any], fetches: Sequence[Any]) -> Callable[..., list[Any]]:
    """Returns a function from values of the feeds to numpy values of the fetches; several threads may call it at once.

    Args:
        session: `tf.compat.v1.Session` with its graph complete: the call is prepared now.
        feeds: tensors that are given.
        fetches: wanted tensors; each may come several times, none is a feed.
    """
    names = list(dict.fromkeys(tensor.name for tensor in fetches))
    options = CallableOptions(feed=[tensor.name for tensor in feeds], fetch=names)
    prepared = session._make_callable_from_options(options)
    explaining = session.make_callable(list(fetches), feed_list=list(feeds))
    places = [names.index(tensor.name) for tensor in fetches]
    # An object array takes a string as it is; numpy's own strings lose the zeros at their end.
    kinds = [object if tensor.dtype == tf.string else tensor.dtype.as_numpy_dtype for tensor in feeds]

    def call(*values: Any) -> list[Any]:
        given = [np.asarray(value, kind) for value, kind in zip(values, kinds)]
        try:
            found = prepared(*given)
        except tf.errors.ResourceExhaustedError:
            raise
        except tf.errors.OpError:
            return list(explaining(*given))  # fails again, with an error that names the operation
        return [found[place] for place in places]

    return call
