"""What `--record` writes of each kind of request, and that `stats` and `validate` compare it with the data."""

import asyncio
import dataclasses
import json
import types

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from cluster.cli.main import main
from engine import Dataset
from tests.support.served_model import answers, example, metrics, rows, save_version
from trainers.serving.server import Limits, ModelConfig, ServeConfig
from trainers.serving.server.core import Core
from trainers.serving.server.observe import recording
from trainers.serving.server.observe.recording import Recorder
from trainers.serving.server.signatures import Signature
from trainers.serving.server.versions import ServedModel


@pytest.fixture(scope="module", autouse=True)
def one_shard():
    """What is recorded lies in one shard, in its order, however long it takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "SHARD_S", 3600.0)
        yield


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The directory of what was recorded of the same 60 rows, asked in two ways, with its values."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "m").mkdir()
    version = save_version(folder / "m", 1)
    (version / "assets.extra").mkdir()
    names = {"version": 1, "tensors": {"the word": "word", "x": "x"}}
    (version / "assets.extra" / "feature_names.json").write_text(json.dumps(names))
    values = rows(60)

    async def ask():
        model = ModelConfig(name="m", directory=str(folder / "m"))
        out = str(folder / "requests")
        core = Core(ServeConfig(models=(model,), record_share=1.0, record_directory=out), metrics())
        core.load()
        for at in range(0, 60, 20):
            part = values[at : at + 20]
            words = np.array([*[b"a"] * 20, None], object)[:-1]
            await core.predict("m", {"x": part, "word": words}, signature="raw_features")
            await core.predict("m", {"": np.array([*map(example, part), None], object)[:-1]}, signature="classes")
        await core.drain()

    asyncio.run(ask())
    return folder / "requests", values


def test_requests_by_tensors_and_by_examples_are_recorded_with_their_answers(recorded):
    folder, values = recorded
    found = {"tensors": [], "examples": []}
    for file in sorted(folder.glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            found["tensors" if "the word" in feature else "examples"].append(feature)
    for kind, answer in (("tensors", "served.score"), ("examples", "served.scores")):
        np.testing.assert_array_equal([each["x"].float_list.value for each in found[kind]], values)
        got = [each[answer].float_list.value[-1] for each in found[kind]]
        np.testing.assert_allclose(got, answers(values, 0), rtol=1e-5)
    assert {each["the word"].bytes_list.value[0] for each in found["tensors"]} == {b"a"}


def test_stats_and_validate_compare_it_with_the_data(recorded, tmp_path, capsys):
    folder, values = recorded
    for name, data in (("same", values), ("other", values + 5)):
        with tf.io.TFRecordWriter(str(tmp_path / f"{name}.tfrecord")) as writer:
            for row in [*data, *data]:
                writer.write(example(row))
    requests = str(folder / "*.tfrecord")
    assert main(["stats", requests, "--out", str(tmp_path / "stats"), "-q"]) == 0
    asked = ["--feature-spec", str(tmp_path / "x.pbtxt"), "--serving", requests, "--skew", "x=0.05", "-q"]
    (tmp_path / "x.pbtxt").write_text(
        'feature { name: "x" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 3 } } }'
    )
    assert main(["validate", str(tmp_path / "same.tfrecord"), *asked]) == 0
    assert main(["validate", str(tmp_path / "other.tfrecord"), *asked]) == 3
    assert "x" in capsys.readouterr().out


def test_tensors_without_rows_are_counted_and_damaged_names_hinder_nothing(tmp_path, caplog):
    class Fixed(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([3], tf.float32, name="x")])
        def of_one(self, x):
            return {"y": x * 2}

    model = Fixed()
    tf.saved_model.save(model, str(tmp_path / "m" / "1"), signatures={"serving_default": model.of_one})
    (tmp_path / "m" / "1" / "assets.extra").mkdir()
    (tmp_path / "m" / "1" / "assets.extra" / "feature_names.json").write_text('{"version": 99}')
    left_out = []

    class Counting(type(metrics())):
        def __init__(self):
            vars(self).update(vars(metrics()))

        def count_left_out(self, requests):
            left_out.append(requests)

    async def ask():
        folders = ModelConfig(name="m", directory=str(tmp_path / "m"))
        out = str(tmp_path / "requests")
        core = Core(ServeConfig(models=(folders,), record_share=1.0, record_directory=out), Counting())
        core.load()
        answer = await core.predict("m", {"x": np.array([1, 2, 3], np.float32)})
        await core.drain()
        return answer.outputs["y"].tolist()

    assert asyncio.run(ask()) == [2.0, 4.0, 6.0] and "reads version 1" in caplog.text
    assert left_out == [1] and not (tmp_path / "requests").exists(), "three numbers are no three rows"


def test_tensors_of_every_kind_are_features(tmp_path):
    left_out = []
    config = ServeConfig(
        models=(ModelConfig(name="m", directory="m"),), record_share=1.0, record_directory=str(tmp_path / "out")
    )
    recorder = Recorder(config, left_out.append)
    words = np.array([b"a", b"b", b"c", None], object)[:-1]
    inputs = {
        "words": words, "words_row_lengths": np.array([2, 0, 1]), "flag": np.array([True, False, True]),
        "half": np.array([[0.5, 1]] * 3, np.float16), "wide": np.array([1.5, 2, 3]), "number": np.array([1, 2, 3], np.uint64),
    }  # fmt: skip
    recorder.offer("m", 1, inputs, {"y": np.zeros(3)}, {"words": "all words"})
    odd = [{"wide": np.array([1e300])}, {"number": np.array([1 << 63], np.uint64)}, {"scalar": np.array(1.0)}]
    odd += [{"wave": np.array([1 + 2j])}, {}, {"none": np.zeros((0, 3))}, []]
    for wrong in odd:
        recorder.offer("m", 1, wrong, {"y": np.zeros(0 if len(wrong) == 0 or "none" in wrong else 1)})
    recorder.offer("m", 1, {"x": np.zeros(1)}, {"y": np.array([1j])})
    recorder.offer("m", 1, {"x": np.zeros(1)}, {"y": np.zeros(2)})
    recorder.close()
    assert left_out == [1] * 9, "what has no form as a feature, or no rows, is counted"
    (tmp_path / "file").touch()
    recorder = Recorder(dataclasses.replace(config, record_directory=str(tmp_path / "file")), left_out.append)
    for _ in range(2):
        recorder.offer("m", 1, {"x": np.zeros(3)}, {"y": np.zeros(3)})
    recorder.close()
    assert left_out == [1] * 9 + [2], "a shard that cannot be written is of two requests, not of six"
    table = pa.Table.from_batches(Dataset.open(str(tmp_path / "out" / "*.tfrecord")).read_batches()).to_pydict()
    assert table["all words"] == [[b"a", b"b"], None, [b"c"]] or table["all words"] == [[b"a", b"b"], [], [b"c"]]
    assert [np.ravel(each).tolist() for each in table["flag"]] == [[1], [0], [1]]
    assert [np.ravel(each).tolist() for each in table["half"]] == [[0.5, 1.0]] * 3
    assert [np.ravel(each).tolist() for each in table["number"]] == [[1], [2], [3]]
    assert "words_row_lengths" not in table and [np.ravel(each).tolist() for each in table["wide"]] == [[1.5], [2], [3]]


def test_a_version_is_asked_what_was_recorded_by_signature_before_it_takes_over(recorded, monkeypatch, caplog):
    folder, values = recorded
    asked = []
    run = Signature.run

    def noted(self, arrays):
        asked.append((self.name, arrays))
        return run(self, arrays)

    monkeypatch.setattr(Signature, "run", noted)
    model = ServedModel(ModelConfig(name="m", directory=str(folder.parent / "m"), warm_up=str(folder)), Limits())
    model.reload()
    assert model.live == [1] and not caplog.text.count("could not be")
    by_tensors = [arrays for name, arrays in asked if name == "raw_features"]
    by_examples = [arrays["examples"] for name, arrays in asked if name == "classes"]
    assert [len(each["x"]) for each in by_tensors] == [len(each) for each in by_examples] == [1, 32, 28]
    np.testing.assert_array_equal(np.concatenate([each["x"] for each in by_tensors[1:]]), values)
    assert {word for each in by_tensors for word in each["word"].tolist()} == {b"a"}
    rows = [tf.train.Example.FromString(each).features.feature for each in np.concatenate(by_examples[1:])]
    assert {name for row in rows for name in row} == {"x", "word"}, "what the server added is no feature of a client"
    np.testing.assert_array_equal([row["x"].float_list.value for row in rows], values)
    asked.clear()
    other = ServedModel(ModelConfig(name="other", directory=str(folder.parent / "m"), warm_up=str(folder)), Limits())
    other.reload()
    assert other.live == [1] and "no request for model 'other' is there" in caplog.text
    assert [(name, len(arrays["examples"])) for name, arrays in asked] == [("serving_default", 0)]


def test_what_a_version_cannot_be_asked_of_the_record_is_logged_and_hinders_it_not(tmp_path, caplog):
    from tensorflow_serving.apis import prediction_log_pb2

    save_version(tmp_path, 1)
    recorder = Recorder(
        ServeConfig(
            models=(ModelConfig(name="m", directory="m"),), record_share=1.0, record_directory=str(tmp_path / "out")
        )
    )
    recorder.offer("m", 1, {"x": np.zeros((2, 5), np.float32)}, {"version": np.zeros(2)}, signature="raw_features")
    recorder.offer("m", 1, [example(rows(1)[0])], {"y": np.zeros(1)})
    recorder.close()
    (shard,) = (tmp_path / "out").iterdir()
    (first, *_) = tf.data.TFRecordDataset(str(shard)).as_numpy_iterator()
    feature = tf.train.Example.FromString(first).features.feature
    assert list(feature["served.version"].int64_list.value) == [1], "an output of this name is beside it"
    assert list(feature["served.output.version"].float_list.value) == [0.0]
    (tmp_path / "out" / "a.tfrecord").write_bytes(b"no shard at all")
    logs = prediction_log_pb2.PredictionLog(), prediction_log_pb2.PredictionLog(), prediction_log_pb2.PredictionLog()
    for request in (logs[0].classify_log.request, logs[1].multi_inference_log.request):
        request.input.example_list.examples.add().ParseFromString(example(rows(1)[0]))
    logs[0].classify_log.request.model_spec.signature_name = "classes"
    logs[1].multi_inference_log.request.tasks.add()
    logs[2].regress_log.request.model_spec.signature_name = "classes"  # without an example
    with tf.io.TFRecordWriter(str(tmp_path / "out" / "b.tfrecord")) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    model = ServedModel(ModelConfig(name="m", directory=str(tmp_path), warm_up=str(tmp_path / "out")), Limits())
    model.reload()
    assert model.live == [1]
    # The rows of the record one by one and together: two, and one of raw_features whose shape does not fit.
    assert "4 requests were asked before the version is served, 4 could not be" in caplog.text


def _written(file, messages):
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for message in messages:
            writer.write(message.SerializeToString())
    return file


def _row(model, signature="serving_default", **numbers):
    """A recorded row of whole numbers."""
    row = tf.train.Example()
    for name, value in (("model", model), ("signature", signature)):
        row.features.feature[f"served.{name}"].bytes_list.value.append(value.encode())
    for name, value in numbers.items():
        row.features.feature[name].int64_list.value.append(value)
    return row


@pytest.mark.parametrize("number", [1 << 40, -1], ids=["beyond", "negative"])
def test_a_recorded_number_beyond_the_types_of_a_version_keeps_it_not_out(tmp_path, caplog, number):
    class Narrow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.uint8 if number < 0 else tf.int32, name="n")])
        def same(self, n):
            return {"n": n}

    model = Narrow()
    tf.saved_model.save(model, str(tmp_path / "m" / "1"), signatures={"serving_default": model.same})
    file = _written(tmp_path / "wide.tfrecord", [_row("m", n=number)])
    served = ServedModel(ModelConfig(name="m", directory=str(tmp_path / "m"), warm_up=str(file)), Limits())
    served.reload()
    assert served.live == [1]
    assert "0 requests were asked before the version is served, 2 could not be: OverflowError" in caplog.text


def test_a_record_that_may_not_be_looked_at_keeps_no_version_out(tmp_path, caplog):
    save_version(tmp_path, 1)
    model = ServedModel(ModelConfig(name="m", directory=str(tmp_path), warm_up=str(tmp_path / ("x" * 300))), Limits())
    model.reload()
    assert model.live == [1] and "0 requests were asked before the version is served" in caplog.text


def test_a_record_of_other_models_is_not_read_to_its_end(tmp_path, monkeypatch, caplog):
    save_version(tmp_path, 1)
    (tmp_path / "busy.tfrecord").touch()
    record, taken = _row("busy").SerializeToString(), []

    def endless():
        while len(taken) < 60_000:
            taken.append(1)
            yield record

    monkeypatch.setattr(tf.data, "TFRecordDataset", lambda file: types.SimpleNamespace(as_numpy_iterator=endless))
    model = ServedModel(
        ModelConfig(name="m", directory=str(tmp_path), warm_up=str(tmp_path / "busy.tfrecord")), Limits()
    )
    model.reload()
    assert model.live == [1] and len(taken) == 50_000 and "no request for model 'm' is there" in caplog.text


def _classify_log(model, examples, signature="classes"):
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = log.classify_log.request
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for row in rows(examples):
        request.input.example_list.examples.add().ParseFromString(example(row))
    return log


def test_prediction_logs_of_the_model_are_asked_and_a_bad_one_hinders_those_behind_it_not(
    tmp_path, monkeypatch, caplog
):
    save_version(tmp_path, 1)
    asked = []
    run = Signature.run
    monkeypatch.setattr(
        Signature, "run", lambda self, arrays: asked.append(len(arrays["examples"])) or run(self, arrays)
    )
    logs = [_classify_log("m", 0), _classify_log("other", 1), _classify_log("m", 2), _classify_log("", 3)]
    file = _written(tmp_path / "logs.tfrecord", logs)
    model = ServedModel(ModelConfig(name="m", directory=str(tmp_path), warm_up=str(file)), Limits())
    model.reload()
    assert model.live == [1] and asked == [2, 3]
    assert "2 requests were asked before the version is served, 1 could not be" in caplog.text


def test_saved_requests_without_examples_or_for_a_signature_without_them_are_logged_and_not_asked(tmp_path, caplog):
    version = save_version(tmp_path, 1)
    logs = [_classify_log("m", 0), _classify_log("m", 1, "raw_features"), _classify_log("m", 1)]
    _written(version / "assets.extra" / "tf_serving_warmup_requests", logs)
    model = ServedModel(ModelConfig(name="m", directory=str(tmp_path)), Limits())
    model.reload()
    assert model.live == [1] and "2 requests saved with the version are not asked: Input is empty" in caplog.text
