"""Every peer: how the tables name it, whose version is noted, and why one is not measured."""

from __future__ import annotations

import dataclasses

__all__ = ["PEERS", "Peer"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
    """A peer.

    Args:
        title: in tables.
        package: the distribution.
        reason: why no case measures it; empty where one does.
        apart: what an environment of its own is made of, where its packages clash with ours (`benchmarks.peers.environments`).
    """

    title: str
    package: str
    reason: str = ""
    apart: tuple[str, ...] = ()


PEERS = {
    "tf.data": Peer(title="tf.data TFRecord + `parse_example`", package="tensorflow"),
    "tfx_bsl": Peer(title="tfx_bsl's decoder and encoder", package="tfx-bsl"),
    "tft": Peer(title="TFT on DirectRunner", package="tensorflow-transform"),
    "keras": Peer(title="Keras `fit`", package="keras"),
    "grain": Peer(title="grain over ArrayRecord", package="grain"),
    "webdataset": Peer(title="webdataset over tar files", package="webdataset"),
    "pyarrow": Peer(title="pyarrow", package="pyarrow"),
    "polars": Peer(title="polars", package="polars"),
    "duckdb": Peer(title="duckdb", package="duckdb"),
    "ray.data": Peer(title="ray.data over Parquet", package="ray"),
    "tfma": Peer(title="TFMA's combiners, row by row", package="tensorflow-model-analysis"),
    "tfma run": Peer(title="TFMA's `analyze_raw_data`", package="tensorflow-model-analysis"),
    "starlette": Peer(title="`model(x)` a request behind starlette", package="starlette"),
    "fastapi": Peer(title="`model(x)` a request behind FastAPI", package="fastapi"),
    "flask": Peer(title="`model(x)` a request behind Flask", package="flask"),
    "ray serve": Peer(title="Ray Serve with its batching", package="ray"),
    "petastorm": Peer(
        title="petastorm",
        package="petastorm",
        reason="0.13 imports `pyarrow.filesystem`, which pyarrow 25 does not have",
    ),
    "mosaicml-streaming": Peer(
        title="mosaicml-streaming over MDS",
        package="mosaicml-streaming",
        apart=("mosaicml-streaming==0.13.0",),  # brings PyTorch with CUDA, and numpy below 2.2
    ),
    "litdata": Peer(
        title="litdata over its chunks",
        package="litdata",
        apart=("litdata==0.2.76",),  # brings PyTorch with CUDA
    ),
    "hybridbackend": Peer(
        title="HybridBackend",
        package="hybridbackend",
        reason="its last release is for TensorFlow 1.15 and Python 3.8",
    ),
}
