"""What feature an Arrow type is: one answer for feature_spec, TFRecord, feed and what TensorFlow parses."""

from __future__ import annotations

import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from engine import ConfigError, DataError, Dataset, ingest, write_batches

MOMENT = dt.datetime(2020, 1, 2, 3, 4, 5)  # noqa: DTZ001 (as files without a zone hold it)
SECONDS = 1577934245
TYPES = {  # a column of two values, and the two that TensorFlow gets
    "bool": (pa.array([True, False]), [1, 0]),
    "uint32": (pa.array([1, 2**32 - 1], pa.uint32()), [1, 2**32 - 1]),
    "float16": (pa.array(np.array([1.5, 2], np.float16)), [1.5, 2.0]),
    "timestamp of ms": (pa.array([MOMENT] * 2, pa.timestamp("ms")), [SECONDS * 1000] * 2),
    "timestamp of a zone": (pa.array([MOMENT] * 2, pa.timestamp("us", "Europe/Berlin")), [SECONDS * 10**6] * 2),
    "date": (pa.array([MOMENT.date()] * 2), [18263] * 2),
    "time of ms": (pa.array([MOMENT.time()] * 2, pa.time32("ms")), [11045000] * 2),
    "time of us": (pa.array([MOMENT.time()] * 2, pa.time64("us")), [11045000000] * 2),
    "duration": (pa.array([dt.timedelta(seconds=3)] * 2, pa.duration("ms")), [3000] * 2),
    "decimal": (pa.array([decimal.Decimal("1.25")] * 2, pa.decimal128(10, 2)), [1.25] * 2),
    "large decimal": (pa.array([decimal.Decimal("-1.5")] * 2, pa.decimal256(50, 1)), [-1.5] * 2),
    "text": (pa.array(["a", "ü"]), [b"a", "ü".encode()]),
    "large text": (pa.array(["a", "b"], pa.large_string()), [b"a", b"b"]),
    "text view": (pa.array(["a", "b"], pa.string_view()), [b"a", b"b"]),
    "bytes of two": (pa.array([b"ab", b"cd"], pa.binary(2)), [b"ab", b"cd"]),
    "dictionary": (pa.array(["a", "b"]).dictionary_encode(), [b"a", b"b"]),
    "embeddings": (pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2)), [[1.0, 2.0], [3.0, 4.0]]),
    "pixels": (pa.array([[1, 255], [0, 2]], pa.list_(pa.uint8(), 2)), [[1, 255], [0, 2]]),
}
LISTS = {  # values of the first and of the second row
    "missing timestamp": (pa.array([MOMENT, None], pa.timestamp("ms")), [SECONDS * 1000], []),
    "missing date": (pa.array([None, MOMENT.date()]), [], [18263]),
    "missing decimal": (pa.array([None, decimal.Decimal("2.5")], pa.decimal128(5, 1)), [], [2.5]),
    "missing flag": (pa.array([True, None]), [1], []),
    "missing embedding": (pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)), [1.0, 2.0], []),
    "nothing": (pa.nulls(2), [], []),
    "lists": (pa.array([[1, 2], None]), [1, 2], []),
    "lists of dates": (pa.array([[MOMENT.date()], []], pa.list_(pa.date32())), [18263], []),
    "lists of times": (
        pa.array([[MOMENT], [MOMENT, MOMENT]], pa.list_(pa.timestamp("ms"))),
        [SECONDS * 1000],
        [SECONDS * 1000] * 2,
    ),
    "lists of decimals": (pa.array([[decimal.Decimal("1.5")], []], pa.list_(pa.decimal128(5, 1))), [1.5], []),
    "lists of dictionaries": (
        pa.array([["a", "b"], ["a"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        [b"a", b"b"],
        [b"a"],
    ),
}


def parsed(path, ds):
    """What TensorFlow reads of the data set written as TFRecord, by the feature spec that the data set gives."""
    ingest(ds.paths[0], path, "tfrecord", num_shards=1)
    written = Dataset.open(str(path))
    records = [record.numpy() for record in tf.data.TFRecordDataset(written.paths)]
    return tf.io.parse_example(records, ds.feature_spec())["c"]


def opened(tmp_path, array):
    pq.write_table(pa.table({"c": array}), tmp_path / "c.parquet")
    ds = Dataset.open(str(tmp_path / "c.parquet"))
    feed = ds.feed(global_batch_size=2, num_epochs=1, shuffle=False)
    (batch,) = [feed.unpack_numpy(batch) for batch in feed]
    return ds, batch["c"]


@pytest.mark.parametrize("kind", TYPES)
def test_a_column_of_values_is_one_fixed_feature_everywhere(tmp_path, kind):
    array, expected = TYPES[kind]
    ds, fed = opened(tmp_path, array)
    assert isinstance(ds.feature_spec()["c"], tf.io.FixedLenFeature)
    assert parsed(tmp_path / "out", ds).numpy().tolist() == expected
    assert fed.tolist() == expected


@pytest.mark.parametrize("kind", LISTS)
def test_a_column_with_missing_values_or_lists_is_one_variable_feature_everywhere(tmp_path, kind):
    array, first, second = LISTS[kind]
    ds, fed = opened(tmp_path, array)
    assert isinstance(ds.feature_spec()["c"], tf.io.VarLenFeature)
    sparse = parsed(tmp_path / "out", ds)
    assert sparse.values.numpy().tolist() == [*first, *second]
    assert sparse.indices.numpy().tolist() == [[0, i] for i in range(len(first))] + [[1, i] for i in range(len(second))]
    values, splits = fed
    assert values.tolist() == [*first, *second] and splits.tolist() == [0, len(first), len(first) + len(second)]


@pytest.mark.parametrize(
    "array", [pa.array([{"a": 1}] * 2), pa.array([[("k", 1)]] * 2, pa.map_(pa.string(), pa.int64()))]
)
def test_what_is_no_feature_is_refused_everywhere(tmp_path, array):
    pq.write_table(pa.table({"c": array}), tmp_path / "c.parquet")
    ds = Dataset.open(str(tmp_path / "c.parquet"))
    for use in (ds.feature_spec, lambda: ds.feed(global_batch_size=2), lambda: ds.write(tmp_path / "o", "tfrecord")):
        with pytest.raises(ConfigError, match="column 'c' has type"):
            use()


def records(path, lists):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for values in lists:
            feature = {} if values is None else {"x": tf.train.Feature(int64_list=tf.train.Int64List(value=values))}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


@pytest.mark.parametrize(
    ("lists", "feature"),
    [
        ([[1], []], tf.io.VarLenFeature(tf.int64)),
        ([[], [1]], tf.io.VarLenFeature(tf.int64)),
        ([[1], None], tf.io.VarLenFeature(tf.int64)),
        ([[1], [2]], tf.io.FixedLenFeature([], tf.int64)),
        ([[1, 2, 3], [4, 5, 6]], tf.io.FixedLenFeature([3], tf.int64)),
        ([[1, 2, 3], []], tf.io.VarLenFeature(tf.int64)),
        ([[1, 2, 3], None], tf.io.VarLenFeature(tf.int64)),
        ([[1, 2, 3], [4, 5]], tf.io.VarLenFeature(tf.int64)),
    ],
)
def test_the_inferred_feature_parses_every_record_as_tensorflow_does(tmp_path, lists, feature):
    path = tmp_path / "a.tfrecord"
    records(path, lists)
    ds = Dataset.open(str(path))
    assert ds.feature_spec() == {"x": feature}
    found = [row["x"] for batch in ds.read_batches() for row in batch.to_pylist()]
    parsed = tf.io.parse_example([record.numpy() for record in tf.data.TFRecordDataset(str(path))], ds.feature_spec())
    if isinstance(feature, tf.io.FixedLenFeature):
        assert parsed["x"].numpy().tolist() == found
    else:
        flat = [value if isinstance(value, list) else [] if value is None else [value] for value in found]
        assert tf.RaggedTensor.from_sparse(parsed["x"]).to_list() == flat == [values or [] for values in lists]
    assert ds.verify().ok
    back = str(tmp_path / "back.parquet")
    write_batches(ds.read_batches(), ds.schema, back)
    assert [row["x"] for batch in Dataset.open(back).read_batches() for row in batch.to_pylist()] == found


def test_train_with_missing_values_and_eval_without_have_one_schema(tmp_path):
    data = pa.table({"k": list(range(40)), "x": [None if k < 20 else 1.5 for k in range(40)]})
    pq.write_table(data, tmp_path / "a.parquet")
    for format in ("parquet", "tfrecord"):
        out = tmp_path / format
        ingest(tmp_path / "a.parquet", out, format, num_shards=2, split_by=["k"], fractions={"train": 0.5, "eval": 0.5})
        specs = []
        for form in ("{}", "{}/*.*", "{}/_fullpass_manifest.json"):
            specs += [Dataset.open(form.format(out / part)).feature_spec() for part in ("train", "eval")]
        assert all(spec == specs[0] for spec in specs) and isinstance(specs[0]["x"], tf.io.VarLenFeature)
        train = Dataset.open(str(out / "train"))
        given = Dataset.open(Dataset.open(str(out / "eval")).paths, train.schema)
        assert given.feature_spec() == train.feature_spec()


def test_analyze_and_transform_see_the_same_features(tmp_path):
    """Of every kind: as it lies, which is counted in Arrow, and through TensorFlow."""
    import tensorflow_transform as tft

    from transforms import analyze, transform

    kinds = {kind.replace(" ", "_"): values for kind, values in {**TYPES, **LISTS}.items()}
    pq.write_table(pa.table({name: array for name, (array, *_) in kinds.items()}), tmp_path / "a.parquet")
    ds = Dataset.open(str(tmp_path / "a.parquet"))

    def preprocessing_fn(inputs):
        rows, found = tf.shape(inputs["date"])[:1], {}
        for name, lying in inputs.items():
            through = tf.identity(lying) if isinstance(lying, tf.Tensor) else tf.sparse.map_values(tf.identity, lying)
            if isinstance(lying, tf.Tensor):
                found[name] = lying
            if lying.dtype == tf.string:
                tft.vocabulary(lying, vocab_filename=name)
                tft.vocabulary(through, vocab_filename=f"through_{name}")
                continue
            numbers = {"max": tft.max(lying), "sum": tft.sum(lying), "through_max": tft.max(through)}
            found.update({f"{name}_{of}": tf.fill(rows, value) for of, value in numbers.items()})
        return found

    analyze(ds, preprocessing_fn, str(tmp_path / "graph"))
    transform(ds, str(tmp_path / "graph"), str(tmp_path / "out"))
    found = pa.Table.from_batches(list(Dataset.open(str(tmp_path / "out")).read_batches())).to_pydict()
    output = tft.TFTransformOutput(str(tmp_path / "graph"))
    for name, (array, first, *second) in kinds.items():
        if not second:
            assert found[name] == first, name
        values = np.concatenate([np.ravel(first), *map(np.ravel, second)]) if second else np.ravel(first)
        if f"{name}_max" in found:
            assert found[f"{name}_max"] == found[f"{name}_through_max"] == [values.max()] * 2, name
            assert found[f"{name}_sum"] == [values.sum()] * 2, name
        elif array.null_count < len(array):  # TFT writes a line of its own into an empty vocabulary
            expected = {value.encode() if isinstance(value, str) else value for value in values.tolist()}
            assert set(output.vocabulary_by_name(name)) == set(output.vocabulary_by_name(f"through_{name}")) == expected


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_a_graph_goes_for_directories_whose_missing_values_differ(tmp_path, format):
    """Without a manifest each directory says by itself whether a column may be missing: here one does and the other does not."""
    import tensorflow_transform as tft

    from transforms import analyze, transform

    rows = {"some": [1.0, None, 3.0, None], "all": [1.0, 2.0, 3.0, 5.0]}
    for name, values in rows.items():
        pq.write_table(pa.table({"x": pa.array(values, pa.float32())}), tmp_path / "x.parquet")
        ingest(tmp_path / "x.parquet", tmp_path / name, format, num_shards=1)
        (tmp_path / name / "_fullpass_manifest.json").unlink()
    opened = {name: Dataset.open(tmp_path / name) for name in rows}
    assert isinstance(opened["some"].feature_spec()["x"], tf.io.VarLenFeature)
    assert isinstance(opened["all"].feature_spec()["x"], tf.io.FixedLenFeature)

    def of_sparse(inputs):
        return {"x": tft.scale_to_0_1(tft.sparse_tensor_to_dense_with_shape(inputs["x"], [None, 1], default_value=0.0))}

    def of_dense(inputs):
        return {"x": tft.scale_to_0_1(inputs["x"])}

    analyze(opened["some"], of_sparse, str(tmp_path / "sparse"))
    transform(opened["all"], str(tmp_path / "sparse"), str(tmp_path / "out"))
    (found,) = Dataset.open(tmp_path / "out").read_batches()
    assert np.allclose(np.ravel(found["x"].to_pylist()), np.array(rows["all"]) / 3)
    analyze(opened["all"], of_dense, str(tmp_path / "dense"))
    with pytest.raises(DataError, match="'x'"):
        transform(opened["some"], str(tmp_path / "dense"), str(tmp_path / "refused"))
    assert not (tmp_path / "refused").exists()
