"""`fullpass bench PATH` on data of every kind: what is compared is the same work, and what cannot be is said."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from cluster.benchmarking.other_readers import Sums, arrow_sums, tensorflow_reader, tensorflow_sums
from cluster.cli.main import main
from engine import Dataset

ROWS = 1500
TABLE = pa.table({"x": np.arange(ROWS, dtype=np.float32), "s": [f"t{i % 7}" for i in range(ROWS)]})
WRITERS = {
    "parquet": pq.write_table,
    "arrow": pyarrow.feather.write_feather,
    "orc": pyarrow.orc.write_table,
    "jsonl": lambda table, path: path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist())),
}


def bench(capsys, *words):
    code = main(["bench", *map(str, words), "--rounds", "1", "--json"])
    said = capsys.readouterr()
    return json.loads(said.out) if code == 0 else said.err


@pytest.mark.parametrize("kind", WRITERS)
def test_each_format_is_read_beside_pyarrow(tmp_path, capsys, kind):
    WRITERS[kind](TABLE, tmp_path / f"rows.{kind}")
    batches, feed = bench(capsys, tmp_path / f"rows.{kind}")
    assert batches["peer"] == "pyarrow.dataset" and batches["ratio"]["median"] > 0
    assert (batches["records"], feed["records"]) == (ROWS, ROWS) and feed["ours_s"] > 0


def test_what_the_other_reader_refuses_is_said_and_ours_measured(tmp_path, capsys):
    with pa.ipc.new_stream(
        tmp_path / "rows.arrow", TABLE.schema
    ) as stream:  # pyarrow.dataset reads the file format alone
        stream.write_table(TABLE)
    batches, _ = bench(capsys, tmp_path / "rows.arrow")
    assert batches["peer"].startswith("(pyarrow.dataset does not read these files: ") and batches["ratio"] is None
    assert batches["records"] == ROWS and batches["ours_s"] > 0


def test_columns_that_cannot_be_fed_leave_the_reading_measured(tmp_path, capsys):
    pq.write_table(pa.table({"pair": [[[1, 2]], [[3]]]}), tmp_path / "nested.parquet")
    batches, feed = bench(capsys, tmp_path / "nested.parquet")
    assert batches["records"] == 2 and batches["ratio"]
    assert feed["ours_s"] is None and "'pair'" in feed["note"]
    assert main(["bench", str(tmp_path / "nested.parquet"), "--rounds", "1"]) == 0
    assert "shuffled feed    not measured: column 'pair'" in capsys.readouterr().out


def test_nothing_to_measure_is_an_error(tmp_path, capsys):
    pq.write_table(TABLE.slice(0, 0), tmp_path / "empty.parquet")
    assert "has no records: there is nothing to measure" in bench(capsys, tmp_path / "empty.parquet")
    pq.write_table(TABLE, tmp_path / "rows.parquet")
    for number in ("0", "-5"):
        assert f"--records {number}: it must be 1 or more" in bench(
            capsys, tmp_path / "rows.parquet", "--records", number
        )
    assert bench(capsys, tmp_path / "rows.parquet", "--records", "1")[0]["records"] == ROWS, "the first file, whole"


def test_tensorflow_reads_what_we_read(tmp_path, capsys):
    import tensorflow as tf

    def feature(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def write(path, records, packing=""):
        path.parent.mkdir(exist_ok=True, parents=True)
        with tf.io.TFRecordWriter(str(path), packing) as file:
            for record in records:
                file.write(record.SerializeToString())

    examples = [tf.train.Example(features=tf.train.Features(feature={"x": feature([i])})) for i in range(70)]
    for number, packing in enumerate(("", "GZIP", "ZLIB", "GZIP")):  # in directories whose names hold a column, too
        write(tmp_path / "mixed" / f"day={number}" / "rows.tfrecord", examples, packing)
    batches, feed = bench(capsys, tmp_path / "mixed")
    assert batches["records"] == feed["records"] == 280 and batches["ratio"] and feed["ratio"]

    lists = tf.train.FeatureLists(feature_list={"w": tf.train.FeatureList(feature=[feature([1, 2]), feature([3])])})
    frames = [tf.train.SequenceExample(context=each.features, feature_lists=lists) for each in examples]
    write(tmp_path / "frames.tfrecord", frames)
    parse = []
    patch = pytest.MonkeyPatch()
    real = tf.io.parse_sequence_example
    patch.setattr(tf.io, "parse_sequence_example", lambda *words: parse.append(words) or real(*words))
    with patch.context():
        assert tensorflow_reader(Dataset.open(str(tmp_path / "frames.tfrecord")), 16)() == 70
    patch.undo()
    ((_, context, sequences),) = parse
    assert list(context) == ["x"] and list(sequences) == ["w"], "the feature lists are parsed, too"
    (tmp_path / "m.py").write_text("def preprocessing_fn(inputs):\n    return {'x': inputs['x']}\n")
    words = ("--module", tmp_path / "m.py", "--against", "tft")
    assert "--against tft: the data are tf.SequenceExample" in bench(capsys, tmp_path / "frames.tfrecord", *words)


def test_feed_of_other_formats_is_measured_beside_tfrecord(tmp_path, capsys, monkeypatch):
    columns = {
        "x": pa.array([float("nan") if i % 5 == 0 else i / 7 for i in range(ROWS)], pa.float32()),
        "large": pa.array([(-1) ** i * (2**62 - i) for i in range(ROWS)]),
        "words": pa.array([["a" * (i % 5), "b"][: i % 3] for i in range(ROWS)]),
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    (pair,) = bench(capsys, tmp_path / "rows.parquet", "--against", "tfrecord")
    assert (pair["what"], pair["records"]) == ("training feed", ROWS) and pair["ratio"]["least"] > 0
    pq.write_table(pa.table({"pair": [[[1, 2]], [[3]]]}), tmp_path / "nested.parquet")
    assert "'pair'" in bench(capsys, tmp_path / "nested.parquet", "--against", "tfrecord")

    found = Sums()
    monkeypatch.setattr("cluster.benchmarking.feeding.tensorflow_sums", lambda part: found)
    found.add("large", np.array([1]))
    assert "column 'large' adds up to" in bench(capsys, tmp_path / "rows.parquet", "--against", "tfrecord")


def test_numbers_and_lengths_of_both_readers_add_up(tmp_path):
    """Sums say when a value differs, wherever it lies, and not when the order does."""
    pq.write_table(TABLE, tmp_path / "rows.parquet")
    Dataset.open(str(tmp_path / "rows.parquet")).write(str(tmp_path / "records"), "tfrecord", 2)
    ours = arrow_sums(Dataset.open(str(tmp_path / "rows.parquet")))
    theirs = tensorflow_sums(Dataset.open(str(tmp_path / "records")))
    assert ours.names == theirs.names == {"x", "s"} and all(ours.close(theirs, name) for name in ours.names)
    assert theirs["s"] == 2 * ROWS
    for name, extra in (("x", np.float32(50)), ("s", np.int64(1))):
        theirs.add(name, np.array([extra]))
        assert not ours.close(theirs, name)
