"""Which tensors are a column of the input as it is: not those that wait for an assertion of the user's."""

from __future__ import annotations

import collections
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import analyzer_nodes

from engine import ConfigError, Dataset
from transforms import analyze
from transforms.batches.features import LayoutSource
from transforms.batches.layouts import layouts_of, type_specs_of
from transforms.passes.phases import plan_phases
from transforms.planning.operands import ColumnInput, TensorInput, find_input
from transforms.tft.lean_reductions import lean_reductions
from transforms.tracing.trace import trace


def _check(x: Any) -> Any:
    return tf.debugging.assert_less(x, 3.0)


def _after(x: Any, check: Any) -> Any:
    with tf.control_dependencies([check]):
        return tf.identity(x)


def _written_in(file: str, function: Callable[..., Any]) -> Any:
    names: dict[str, Any] = {"tf": tf, "Any": Any}
    exec(compile(inspect.getsource(function), file, "exec"), names)
    return names[function.__name__]


_TFT = os.path.join(os.path.dirname(tft.__file__), "mappers.py")
_NEAR = "/my/tensorflow_transform_demo/features.py"


_Pair = collections.namedtuple("_Pair", ["first", "second"])


@pytest.mark.parametrize("collect", [list, tuple, lambda two: _Pair(*two), lambda two: dict(enumerate(two)).values()])
def test_an_analyzer_takes_any_collection_of_tensors(collect: Callable[..., Any]) -> None:
    with lean_reductions(), tf.Graph().as_default():
        two = [tf.compat.v1.placeholder(tf.float32, [None]) for _ in "xy"]
        source = analyzer_nodes.get_input_tensors_value_nodes(collect(two)).parent_operation.operation_def
        assert [each is given for each, given in zip(source.tensors, two, strict=True)] == [True, True]
        ragged = tf.RaggedTensor.from_row_splits(two[0], tf.constant([0, 1]))
        with pytest.raises(RuntimeError, match="tensor must be a Tensor"):  # as TFT says it
            analyzer_nodes.get_input_tensors_value_nodes((ragged,))


@pytest.mark.parametrize(
    ("check", "after", "kind"),
    [(_TFT, _TFT, ColumnInput), (_NEAR, _NEAR, TensorInput), (_NEAR, _TFT, TensorInput), (_TFT, _NEAR, TensorInput)],
    ids=["TFT's own", "the user's", "TFT after the user's", "the user's after TFT's"],
)
def test_a_tensor_that_waits_for_the_users_assertion_is_no_column(check: str, after: str, kind: type) -> None:
    with tf.Graph().as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None])
        trace = SimpleNamespace(components={x.name: ("x", 0)}, inputs={"x": x})
        waiting = _written_in(after, _after)(x, _written_in(check, _check)(x))
        assert isinstance(find_input(trace, waiting), kind)
        assert isinstance(find_input(trace, x), ColumnInput)


def _checked(analyzer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def preprocessing_fn(inputs: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_less(inputs["x"], 3.0)]):
            return {"y": analyzer(inputs)}

    return preprocessing_fn


def _spread(inputs: Any, value: Any) -> Any:
    return inputs["x"] - tf.cast(value, tf.float32)


_ANALYZERS: dict[str, Callable[[Any], Any]] = {
    "z-score": lambda inputs: tft.scale_to_z_score(inputs["x"]),
    "mean": lambda inputs: inputs["x"] - tft.mean(inputs["x"]),
    "minimum": lambda inputs: tft.scale_to_0_1(inputs["x"]),
    "sum": lambda inputs: _spread(inputs, tft.sum(inputs["x"])),
    "size": lambda inputs: _spread(inputs, tft.size(inputs["x"])),
    "quantiles": lambda inputs: tft.bucketize(inputs["x"], 3),
    "l-moments": lambda inputs: tft.scale_to_gaussian(inputs["x"]),
    "vocabulary": lambda inputs: tft.compute_and_apply_vocabulary(inputs["s"]),
    "weighted vocabulary": lambda inputs: tft.compute_and_apply_vocabulary(inputs["s"], weights=inputs["x"]),
    "vocabulary of sparse": lambda inputs: tft.compute_and_apply_vocabulary(inputs["t"]),
    "by key": lambda inputs: tft.scale_to_z_score_per_key(inputs["x"], inputs["s"]),
    "histogram": lambda inputs: _spread(inputs, tf.reduce_sum(tft.histogram(inputs["x"])[0])),
    "covariance": lambda inputs: _spread(inputs, tft.covariance(inputs["v"], tf.float32)[0, 0]),
    "pca": lambda inputs: _spread(inputs, tft.pca(inputs["v"], 1, tf.float32)[0, 0]),
    "integers": lambda inputs: tft.compute_and_apply_vocabulary(inputs["n"]),
    "by element": lambda inputs: tft.scale_to_z_score(inputs["v"], elementwise=True),
    "count by key": lambda inputs: _spread(inputs, tf.reduce_sum(tft.count_per_key(inputs["s"])[1])),
    "quantiles by key": lambda inputs: tft.bucketize_per_key(inputs["x"], inputs["s"], 3),
    "weighted quantiles": lambda inputs: _spread(inputs, tft.quantiles(inputs["x"], 2, 0.01, inputs["x"])[0, 0]),
    "mutual information": lambda inputs: tft.compute_and_apply_vocabulary(inputs["s"], labels=inputs["n"]),
}


@pytest.fixture(scope="module")
def late_fault(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Records whose last one alone breaks the assertion: far behind those that a function is tried on."""
    rows = 400
    x = np.ones(rows, np.float32)
    x[-1] = 5.0
    table = pa.table(
        {
            "x": x,
            "s": ["a"] * rows,
            "t": pa.array([["a"] * (each % 3) for each in range(rows)]),
            "n": np.arange(rows) % 7,
            "v": pa.FixedSizeListArray.from_arrays(pa.array(np.ones(2 * rows, np.float32)), 2),
        },
        schema=pa.schema(
            [
                pa.field("x", pa.float32(), nullable=False),
                pa.field("s", pa.string(), nullable=False),
                pa.field("t", pa.list_(pa.string())),
                pa.field("n", pa.int64(), nullable=False),
                pa.field("v", pa.list_(pa.float32(), 2), nullable=False),
            ]
        ),
    )
    path = tmp_path_factory.mktemp("late") / "rows.parquet"
    pq.write_table(table, path)
    return Dataset.open(str(path))


@pytest.mark.parametrize("name", _ANALYZERS)
def test_an_assertion_around_an_analyzer_runs_on_all_records(late_fault: Dataset, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="assertion failed"):
        analyze(late_fault, _checked(_ANALYZERS[name]), tmp_path / "graph", batch_rows=100)


def test_columns_stay_columns_where_nothing_of_the_users_is_waited_for(late_fault: Dataset, tmp_path: Path) -> None:
    def preprocessing_fn(inputs: Any) -> Any:
        return {name: analyzer(inputs) for name, analyzer in _ANALYZERS.items() if name in _OF_COLUMNS}

    specs = type_specs_of(late_fault.feature_spec())
    (phase,) = plan_phases(
        trace(preprocessing_fn, specs, str(tmp_path)), LayoutSource(layouts_of(late_fault.feature_spec()))
    )
    assert phase.fetches == ()


_OF_COLUMNS = ("z-score", "mean", "sum", "vocabulary", "weighted vocabulary", "vocabulary of sparse", "integers")
