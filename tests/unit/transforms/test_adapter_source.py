"""Strings of TFXIO batches without TFX's adapter: what the adapter makes of them is the oracle."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter, TensorAdapterConfig

from transforms.batches.features import AdapterSource
from transforms.batches.graph_strings import Strings

BATCH = pa.RecordBatch.from_pydict(
    {
        "one": pa.array([[b"a"], [b""], [b"c\x00"]], pa.list_(pa.binary())),
        "pair": pa.array([[b"a", b"b"], [b"", b"d"], [b"e", b"f"]], pa.large_list(pa.large_binary())),
        "some": pa.array([[b"a", b"b"], None, [b"c"]], pa.large_list(pa.large_binary())),
        "filled": pa.array([[b"a"], None, [b"c"]], pa.list_(pa.binary())),
        "number": pa.array([[1], [2], [3]], pa.list_(pa.int64())),
    }
)
KINDS = {
    "one": 'dense_tensor { column_name: "one" shape {} }',
    "pair": 'dense_tensor { column_name: "pair" shape { dim { size: 2 } } }',
    "some": 'varlen_sparse_tensor { column_name: "some" }',
    "filled": 'dense_tensor { column_name: "filled" shape {} default_value { bytes_value: "x" } }',
    "number": 'dense_tensor { column_name: "number" shape {} }',
}
IN_ARROW = {("one", 0), ("pair", 0), ("some", 1)}


@pytest.mark.parametrize("batch", [BATCH, BATCH.slice(1)], ids=["whole", "slice"])
def test_strings_are_those_of_the_adapter(batch):
    representations = {name: text_format.Parse(text, schema_pb2.TensorRepresentation()) for name, text in KINDS.items()}
    config = TensorAdapterConfig(batch.schema, representations)
    wanted = [(name, component) for name in KINDS for component in range(3 if name == "some" else 1)]
    found = AdapterSource(config).arrays(batch, wanted)
    tensors = TensorAdapter(config).ToBatchTensors(batch, produce_eager_tensors=False)
    for (name, component), array in zip(wanted, found):
        value = tensors[name]
        want = [value.indices, value.values, value.dense_shape][component] if name == "some" else value
        assert isinstance(array, Strings) == ((name, component) in IN_ARROW)
        got = array.to_numpy() if isinstance(array, Strings) else array
        assert np.asarray(got).shape == np.asarray(want).shape and np.asarray(got).tolist() == np.asarray(want).tolist()
