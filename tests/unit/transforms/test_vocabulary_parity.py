"""Vocabulary files equal TFT's byte by byte, whatever the options; TFT runs on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine import Dataset
from tests.support import parity
from transforms import analyze

ROWS = 3_000


def rows() -> pa.Table:
    rng = np.random.default_rng(31)
    words = ["", "a b", "line\nbreak", "grüße", "tab\t", " ", "\r"] + [f"w{n}" for n in range(200)]
    picks = rng.zipf(1.3, ROWS) % len(words)
    tags = [
        [f"g{n % 4}-t{n}" for n in sorted(set((rng.zipf(1.5, rng.integers(0, 4)) % 40).tolist()))] for _ in range(ROWS)
    ]
    return pa.table(
        {
            "word": pa.array([words[n].encode() for n in picks], pa.binary()),
            "number": pa.array(rng.integers(-30, 30, ROWS), pa.int64()),
            "tags": pa.array([[t.encode() for t in each] for each in tags], pa.list_(pa.binary())),
            "label": pa.array((picks + rng.integers(0, 3, ROWS)) % 3, pa.int64()),
            "weight": pa.array((rng.integers(1, 64, ROWS) / 8).astype(np.float32)),
        }
    )


def spec() -> dict[str, Any]:
    import tensorflow as tf

    return {
        "word": tf.io.FixedLenFeature([], tf.string),
        "number": tf.io.FixedLenFeature([], tf.int64),
        "tags": tf.io.VarLenFeature(tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "weight": tf.io.FixedLenFeature([], tf.float32),
    }


def group_of(token: bytes | str) -> str:
    text = token.decode() if isinstance(token, bytes) else token
    return text.split("-")[0]


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf
    import tensorflow_transform as tft

    word, number, tags = inputs["word"], inputs["number"], inputs["tags"]
    label, weight = inputs["label"], inputs["weight"]
    options: dict[str, tuple[Any, dict[str, Any]]] = {
        "plain": (word, {}),
        "top": (word, {"top_k": 25, "store_frequency": True}),
        "often": (word, {"frequency_threshold": 7, "store_frequency": True}),
        "never": (word, {"frequency_threshold": 10**6}),
        "never_top": (word, {"frequency_threshold": 10**6, "top_k": 5, "reserved_tokens": ["R"]}),
        "shuffled": (word, {"fingerprint_shuffle": True, "top_k": 40}),
        "reserved": (word, {"reserved_tokens": ["w3", "PAD"], "store_frequency": True, "top_k": 12}),
        "weighted": (word, {"weights": weight, "store_frequency": True}),
        "weighted_whole": (number, {"weights": label, "store_frequency": True, "top_k": 20}),
        "records": (word, {"file_format": "tfrecord_gzip", "store_frequency": True}),
        "numbers": (number, {"store_frequency": True}),
        "numbers_top": (number, {"top_k": 11}),
        "computed": (tf.strings.join([word, tf.strings.as_string(number)], ":"), {"top_k": 100}),
        "tags": (tags, {"store_frequency": True}),
        "covered": (tags, {"key_fn": group_of, "coverage_top_k": 2, "top_k": 3, "store_frequency": True}),
        "covered_often": (tags, {"key_fn": group_of, "coverage_frequency_threshold": 30, "frequency_threshold": 200}),
        "labels": (word, {"labels": label, "store_frequency": True}),
        "labels_adjusted": (word, {"labels": label, "use_adjusted_mutual_info": True, "min_diff_from_avg": 1}),
        "labels_top": (tags, {"labels": label, "top_k": 9, "min_diff_from_avg": 0, "store_frequency": True}),
        "labels_informative": (number, {"labels": label, "frequency_threshold": 0.5, "min_diff_from_avg": 0}),
        "labels_weighted": (word, {"labels": label, "weights": weight}),
    }
    for name, (tensor, arguments) in options.items():
        tft.vocabulary(tensor, vocab_filename=name, **arguments)
    tft.experimental.approximate_vocabulary(word, 1000, vocab_filename="approximate", store_frequency=True)
    tft.experimental.approximate_vocabulary(tags, 1000, vocab_filename="approximate_tags", reserved_tokens=["R"])
    return {"x": tf.cast(number, tf.float32)}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, str]]:
    directory = tmp_path_factory.mktemp("vocabularies")
    table = rows()
    tft_graph = parity.tft_analyze(table, spec(), preprocessing_fn, str(directory / "tft"), runner="FnApiRunner")
    data = Dataset.open(parity.write_table(directory / "rows", table, 3, 400) + "/*.parquet", feature_spec=spec())
    analyze(data, preprocessing_fn, str(directory / "ours"), batch_rows=700, target_split_bytes=20_000)
    ours = str(directory / "ours")
    return (
        parity.assets(tft_graph),
        parity.assets(ours),
        {"tft": parity.metadata(tft_graph), "ours": parity.metadata(ours)},
    )


def records(content: bytes, path: Path) -> list[bytes]:
    import tensorflow as tf

    path.write_bytes(content)
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path), "GZIP")]


def test_files_equal_tft(graphs: Any, tmp_path: Path) -> None:
    expected, found, _ = graphs
    assert expected.keys() == found.keys()
    assert len(expected) == 23
    different = []
    for name, content in expected.items():
        if name.endswith(".gz"):
            same = records(content, tmp_path / "tft") == records(found[name], tmp_path / "ours")
        else:
            same = content == found[name]
        if not same:
            different.append((name, content[:300], found[name][:300]))
    assert not different


def test_metadata_equals_tft(graphs: Any) -> None:
    _, _, texts = graphs
    assert texts["ours"] == texts["tft"]
