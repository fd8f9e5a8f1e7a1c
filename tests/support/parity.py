"""TFT and Fullpass on the same data: the oracle of the parity tests."""

from __future__ import annotations

import itertools
import os
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def write_table(directory: pathlib.Path, table: pa.Table, files: int = 2, row_group: int = 0) -> str:
    """Writes the table as Parquet files in order and returns the directory."""
    import pyarrow.parquet as pq

    directory.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, len(table), files + 1).astype(int)
    for index, (begin, end) in enumerate(itertools.pairwise(bounds)):
        part = table.slice(begin, end - begin)
        pq.write_table(part, directory / f"data-{index}.parquet", row_group_size=row_group or max(len(part), 1))
    return str(directory)


def tft_analyze(
    table: pa.Table,
    feature_spec: dict[str, Any],
    preprocessing_fn: Any,
    out: str,
    module: Any = None,
    runner: str = "BundleBasedDirectRunner",
) -> str:
    """Writes TFT's own transform graph for the table; `module` stands in for tensorflow_transform.beam."""
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import schema_utils
    from tfx_bsl.tfxio import tf_example_record

    from engine.schema.feature_spec import schema_from_feature_spec
    from transforms.fallback import to_tfxio

    module = module or tft_beam
    schema = schema_utils.schema_from_feature_spec(feature_spec)
    config = tf_example_record.TFExampleBeamRecord("inmem", ["test"], schema=schema).TensorAdapterConfig()
    target = schema_from_feature_spec(feature_spec)
    conformed = pa.Table.from_arrays([_chunked(table, field) for field in target], schema=target)
    batches = [to_tfxio(batch, config.arrow_schema) for batch in conformed.to_batches(max_chunksize=1000)]
    with beam.Pipeline(runner=runner) as pipeline, module.Context(temp_dir=out + "-tmp"):
        data = pipeline | beam.Create(batches, reshuffle=False).with_output_types(pa.RecordBatch)
        transform_fn = (data, config) | module.AnalyzeDataset(preprocessing_fn)
        _ = transform_fn | module.WriteTransformFn(out)
    return out


def _chunked(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    column = table.column(field.name)
    if column.type != field.type and not pa.types.is_nested(column.type) and pa.types.is_list(field.type):
        values = [None if value is None else [value] for value in column.to_pylist()]
        return pa.chunked_array([pa.array(values, field.type)])
    return column.cast(field.type)


def outputs(graph: str, table: pa.Table, feature_spec: dict[str, Any]) -> dict[str, Any]:
    """Returns the transformed features of the whole table as numpy, by the graph's own SavedModel."""
    import tensorflow as tf
    from tensorflow_transform.saved import saved_transform_io_v2

    from engine.schema.conform import conform
    from engine.schema.feature_spec import schema_from_feature_spec
    from transforms.batches.layouts import layouts_of
    from transforms.passes.transformation import tensor_of

    loader = saved_transform_io_v2.SavedModelLoader(os.path.join(graph, "transform_fn"))
    schema = schema_from_feature_spec(feature_spec)
    conformed = pa.Table.from_arrays([_chunked(table, field) for field in schema], schema=schema)
    (batch,) = conformed.combine_chunks().to_batches(max_chunksize=len(table))
    batch = conform(batch, schema)
    tensors = {name: tensor_of(tf, batch, layout) for name, layout in layouts_of(feature_spec).items()}
    return {name: _numpy(tf, value) for name, value in loader.apply_transform_model(tensors).items()}


def _numpy(tf: Any, value: Any) -> Any:
    if isinstance(value, tf.SparseTensor):
        return np.concatenate([value.indices.numpy().reshape(-1), value.dense_shape.numpy()]), value.values.numpy()
    if isinstance(value, tf.RaggedTensor):
        return value.row_splits.numpy(), value.flat_values.numpy()
    return value.numpy()


def assert_same_outputs(expected: dict[str, Any], found: dict[str, Any], exact: set[str] | None = None) -> None:
    """Fails unless all outputs agree: strings and integers exactly, floats within float32's rounding."""
    assert expected.keys() == found.keys()
    for name, want in expected.items():
        pairs = zip(want, found[name]) if isinstance(want, tuple) else [(want, found[name])]
        for left, right in pairs:
            if left.dtype.kind == "f" and not (exact and name in exact):
                np.testing.assert_allclose(right, left, rtol=2e-5, atol=2e-6, err_msg=name)
            else:
                np.testing.assert_array_equal(right, left, err_msg=name)


def assets(graph: str) -> dict[str, bytes]:
    """Returns the asset files by name."""
    directory = pathlib.Path(graph) / "transform_fn" / "assets"
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())} if directory.exists() else {}


def metadata(graph: str) -> str:
    """Returns the transformed schema as text."""
    return (pathlib.Path(graph) / "transformed_metadata" / "schema.pbtxt").read_text()
