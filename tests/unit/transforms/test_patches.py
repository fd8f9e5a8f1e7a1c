"""What Fullpass replaces in TFT while it traces: nothing of it reaches plain TFT in another thread."""

from __future__ import annotations

import contextlib
import threading

import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform import tf_utils

from transforms.tft.lean_reductions import lean_reductions
from transforms.tft.patches import replaced
from transforms.tracing.trace import trace

_METADATA = tft.DatasetMetadata.from_feature_spec({"s": tf.io.FixedLenFeature([], tf.string)})
_ROWS = [{"s": value} for value in ("a", "", "b c", "x\ny", "a")]


def preprocessing_fn(inputs):
    return {"id": tft.compute_and_apply_vocabulary(inputs["s"], vocab_filename="v")}


def tfts_vocabulary(directory):
    with tft_beam.Context(temp_dir=str(directory / "temp")):
        _, transform_fn = (_ROWS, _METADATA) | tft_beam.AnalyzeAndTransformDataset(preprocessing_fn)
        _ = transform_fn | tft_beam.WriteTransformFn(str(directory / "graph"))
    return open(tft.TFTransformOutput(str(directory / "graph")).vocabulary_file_by_name("v"), "rb").read()


@contextlib.contextmanager
def another_thread(body):
    """Has another thread call `body(pause)`, and holds it where it calls `pause` while in the context."""
    entered, leave = threading.Event(), threading.Event()

    def pause():
        entered.set()
        assert leave.wait(120)

    thread = threading.Thread(target=body, args=(pause,))
    thread.start()
    assert entered.wait(120)
    try:
        yield
    finally:
        leave.set()
        thread.join()


def test_plain_tft_in_another_thread_is_not_touched_by_a_trace_of_ours(tmp_path):
    found = []

    def traces(pause):
        def held(inputs):
            pause()
            return preprocessing_fn(inputs)

        specs = {"s": tf.TensorSpec([None], tf.string)}
        found.append(trace(held, specs, str(tmp_path)))

    with another_thread(traces):
        assert tfts_vocabulary(tmp_path) == b"a\nb c\n"
    (traced,) = found
    assert {note.reduction.name for note in traced.reductions.values()} == {"reduce_batch_weighted_counts"}
    alone = trace(preprocessing_fn, {"s": tf.TensorSpec([None], tf.string)}, str(tmp_path))
    assert [sink.tensor.name for sink in traced.sinks] == [sink.tensor.name for sink in alone.sinks]
    assert len(traced.resources) == len(alone.resources)


def test_replacements_hold_in_their_own_thread_and_nest():
    def body(pause):
        with lean_reductions():
            pause()

    x = tf.constant(["b", "", "b"])
    plain = tf_utils.reduce_batch_weighted_counts(x).unique_x.numpy().tolist()
    with another_thread(body):
        assert tf_utils.reduce_batch_weighted_counts(x).unique_x.numpy().tolist() == plain
    with lean_reductions():
        assert tf_utils.reduce_batch_weighted_counts(x).unique_x.numpy().tolist() == [b"b", b"", b"b"]
        with replaced(tf_utils, {"reduce_batch_weighted_counts": lambda lean: lambda *given: [lean(*given)]}):
            assert tf_utils.reduce_batch_weighted_counts(x)[0].unique_x.numpy().tolist() == [b"b", b"", b"b"]
    assert tf_utils.reduce_batch_weighted_counts(x).unique_x.numpy().tolist() == plain
