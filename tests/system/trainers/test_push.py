"""Only blessed versions are pushed, every push can be taken back, and requests never meet a half-switched model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from engine import ConfigError, DataError
from tests.support.eventually import eventually
from trainers.evaluation.evaluate import EvaluationResult
from trainers.export.digest import model_digest
from trainers.serving.lineage import lineage
from trainers.serving.push import current, history, push, rollback, versions

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Versions 1 to 4 of a model whose answers are (version, version + x): a mixed answer shows."""
    import tensorflow as tf

    from trainers.export.export import export_saved_model

    class Numbered(tf.Module):
        def __init__(self, number):
            super().__init__()
            self.number = tf.Variable(float(number))

        def __call__(self, features):
            ones = tf.ones_like(features["x"])
            return {"both": tf.stack([ones * self.number, features["x"] + self.number], axis=1)}

    out = tmp_path_factory.mktemp("models")
    for number in range(1, 5):
        export_saved_model(Numbered(number), out, raw_feature_spec={"x": tf.io.FixedLenFeature([], tf.float32)})
    return out


def blessing(path, **changes):
    digest = model_digest(path) if Path(path).exists() else "0" * 64
    settings = {
        "model": str(path),
        "model_sha256": digest,
        "label": "y",
        "rows": 10,
        "overall": {"auc": 0.9},
        "judged": True,
        **changes,
    }
    return EvaluationResult(**settings)


def test_push_blessing_follows_the_model_and_not_its_path(models, tmp_path):
    """Another model at the same path is refused; the same one elsewhere goes in."""
    shutil.copytree(models / "1", tmp_path / "a" / "1")
    given = blessing(tmp_path / "a" / "1")
    shutil.copytree(models / "1", tmp_path / "elsewhere" / "1")
    assert push(tmp_path / "elsewhere", tmp_path / "serving", evaluation=given).name == "1"
    shutil.rmtree(tmp_path / "a" / "1")
    shutil.copytree(models / "2", tmp_path / "a" / "1")
    for force in (False, True):
        with pytest.raises(ConfigError, match="the evaluation is of another model"):
            push(tmp_path / "a", tmp_path / "serving", evaluation=given, force=force)
    assert versions(tmp_path / "serving") == [1]


def test_push_flipped_byte_in_a_variable_after_the_blessing_is_refused(models, tmp_path):
    shutil.copytree(models / "1", tmp_path / "1")
    given = blessing(tmp_path / "1")
    flip(next((tmp_path / "1" / "variables").glob("*.data*")))
    with pytest.raises(ConfigError, match="the evaluation is of another model"):
        push(tmp_path / "1", tmp_path / "serving", evaluation=given)


def flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def broken(links):
    return [link.name for link in links if link.holds is False]


def test_lineage_every_link_of_a_pushed_version_is_checked(models, tmp_path, capsys):
    from cluster.cli.main import main

    version = push(models / "2", tmp_path, evaluation=blessing(models / "2"))
    assert broken(lineage(version)) == [] and main(["lineage", str(version)]) == 0
    shown = capsys.readouterr().out
    assert model_digest(models / "2") in shown and "10 rows, blessed" in shown and f"push of {models / '2'}" in shown
    back = push(models / "3", tmp_path, force=True)
    assert broken(lineage(back)) == [] and "not blessed" in str(lineage(back)[1])
    again = rollback(tmp_path)
    assert broken(lineage(again)) == [] and [link.name for link in lineage(again)][:3] == [
        "model",
        "push",
        "evaluation",
    ]
    saved = {p: p.read_bytes() for p in version.rglob("*") if p.is_file()}
    for name, links in (
        ("saved_model.pb", ["model", "push", "evaluation"]),
        ("assets.extra/evaluation.json", ["push"]),
        ("assets.extra/model_card.json", ["push", "configuration"]),
    ):
        path = version / name
        if name.endswith(".json"):
            key = "rows" if "evaluation" in name else "config"
            stored = json.loads(path.read_text())
            path.write_text(json.dumps({**stored, key: 9 if key == "rows" else {"epochs": 9}}))
        else:
            flip(path, at=100)
        assert broken(lineage(version)) == links, name
        assert main(["lineage", str(version)]) == 3
        path.write_bytes(saved[path])
    assert broken(lineage(version)) == []
    flip(version / "saved_model.pb", at=100)
    with pytest.raises(DataError, match="is not the model that was pushed"):
        rollback(tmp_path, to=1)


def test_lineage_holds_data_and_graph_against_the_card(tmp_path):
    import tensorflow as tf

    from engine import Dataset, write_batches
    from trainers.export.export import export_saved_model

    for name in ("train", "other"):
        batch = pa.record_batch({"x": pa.array([1.0, 2.0, 3.0 if name == "train" else 4.0], pa.float32())})
        write_batches([batch], batch.schema, str(tmp_path / f"{name}.tfrecord"), format="tfrecord")

    class Model(tf.Module):
        def __call__(self, features):
            return {"y": features["x"] * 2.0}

    spec = {"x": tf.io.FixedLenFeature([], tf.float32)}
    manifest = Dataset.open(str(tmp_path / "train.tfrecord")).manifest
    version = export_saved_model(Model(), tmp_path / "models", raw_feature_spec=spec, data_manifest=manifest)
    (link,) = [link for link in lineage(version) if link.name == "data"]
    assert link.holds is None and manifest.hash in link.says and "3 records" in link.says
    assert broken(lineage(version, data=str(tmp_path / "train.tfrecord"))) == []
    assert broken(lineage(version, data=str(tmp_path / "other.tfrecord"))) == ["data"]


def served_number(path):
    import tensorflow as tf

    return float(tf.saved_model.load(str(path)).signatures["raw_features"](x=tf.zeros([1]))["both"][0, 0])


def test_push_blessed_version_copies_it_whole_under_next_number(models, tmp_path):
    first = push(models / "2", tmp_path / "serving", evaluation=blessing(models / "2"))
    second = push(models, tmp_path / "serving", evaluation=blessing(models / "4"))
    assert (first, second) == (tmp_path / "serving/1", tmp_path / "serving/2")
    assert versions(tmp_path / "serving") == [1, 2] and current(tmp_path / "serving") == second
    files = [
        {str(p.relative_to(d)): p.read_bytes() for p in d.rglob("*") if p.is_file()} for d in (models / "4", second)
    ]
    assert files[1].pop("assets.extra/evaluation.json")
    assert files[0] == files[1] and "assets.extra/model_card.json" in files[0]
    assert [(e["action"], e["version"], e["blessed"]) for e in history(tmp_path / "serving")] == [
        ("push", 1, True),
        ("push", 2, True),
    ]


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        (None, "no evaluation"),
        ({"failures": ["auc of all rows is 0.7000, at least 0.9 is needed"]}, "not blessed: auc of all rows is 0.7000"),
        ({"judged": False}, "evaluated without thresholds"),
        ({"model_sha256": "0" * 64}, "the evaluation is of another model"),
        ({"model_sha256": ""}, "with sha256 unknown"),
        ("missing.json", r"no evaluation missing\.json"),
    ],
)
def test_push_without_blessing_is_refused_and_serving_stays(models, tmp_path, evaluation, message):
    given = blessing(models / "1", **evaluation) if isinstance(evaluation, dict) else evaluation
    with pytest.raises(ConfigError, match=message):
        push(models / "1", tmp_path / "serving", evaluation=given)
    assert versions(tmp_path / "serving") == []


def test_push_forced_stands_in_history(models, tmp_path):
    push(models / "1", tmp_path, force=True)
    digests = {"sha256", "card_sha256", "evaluation_sha256"}
    assert {key: value for key, value in history(tmp_path)[0].items() if key not in digests} | {"time": ""} == {
        "action": "push", "source": str(models / "1"), "blessed": False, "forced": True, "version": 1, "time": ""
    }  # fmt: skip


def test_push_with_evaluation_file_of_moved_directory_is_refused_then_taken(models, tmp_path):
    blessing(models / "1").save(tmp_path / "evaluation.json")
    assert push(models / "1", tmp_path / "serving", evaluation=tmp_path / "evaluation.json").name == "1"
    with pytest.raises(ConfigError, match="evaluate the model that is pushed"):
        push(models / "2", tmp_path / "serving", evaluation=tmp_path / "evaluation.json")


def test_rollback_serves_earlier_version_again_under_new_number(models, tmp_path):
    for number in (1, 2, 3):
        push(models / str(number), tmp_path, force=True)
    assert served_number(rollback(tmp_path)) == 2 and current(tmp_path).name == "4"
    assert served_number(rollback(tmp_path)) == 1 and current(tmp_path).name == "5"
    assert served_number(rollback(tmp_path, to=3)) == 3 and current(tmp_path).name == "6"
    assert served_number(rollback(tmp_path)) == 2, "before version 3 stood version 2"
    with pytest.raises(
        ConfigError, match="cannot go back to version 9: served is 7, earlier versions are 1, 2, 3, 4, 5, 6"
    ):
        rollback(tmp_path, to=9)


def test_rollback_with_nothing_earlier_is_refused(models, tmp_path):
    with pytest.raises(ConfigError, match="nothing to roll back"):
        rollback(tmp_path / "empty")
    push(models / "1", tmp_path, force=True)
    with pytest.raises(ConfigError, match="earlier versions are none"):
        rollback(tmp_path)
    (tmp_path / "1").rename(tmp_path / "0001")  # as others name versions
    push(models / "2", tmp_path, force=True)
    assert served_number(rollback(tmp_path)) == 1 and current(tmp_path).name == "3"
    push(models / "3", tmp_path, force=True, keep=2)
    assert versions(tmp_path) == [3, 4] and not (tmp_path / "0001").exists()


def test_push_keep_removes_oldest_and_numbers_never_come_again(models, tmp_path):
    for number in (1, 2, 3):
        push(models / str(number), tmp_path, force=True, keep=2)
    assert versions(tmp_path) == [2, 3]
    import shutil

    shutil.rmtree(tmp_path / "3")
    assert push(models / "4", tmp_path, force=True).name == "4"
    with pytest.raises(ConfigError, match="keep=1"):
        push(models / "4", tmp_path, force=True, keep=1)


def test_push_of_damaged_history_is_refused(models, tmp_path):
    (tmp_path / ".history.json").write_text("[")
    with pytest.raises(DataError, match="is not a history of pushes"):
        push(models / "1", tmp_path, force=True)
    assert versions(tmp_path) == []


def test_push_killed_at_any_moment_leaves_whole_versions_only(models, tmp_path):
    program = "import sys; from trainers.serving.push import push\nwhile True: push(sys.argv[1], sys.argv[2], force=True, keep=3)"
    expected = {p.relative_to(models / "1") for p in (models / "1").rglob("*")}
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    for attempt in range(int(os.environ.get("FULLPASS_PUSH_KILLS", "4"))):
        with subprocess.Popen([sys.executable, "-c", program, str(models / "1"), str(tmp_path)], env=env) as process:
            before = len(history(tmp_path))
            try:
                eventually(
                    lambda before=before: len(history(tmp_path)) >= before + 2, "two more are pushed", poll_s=0.005
                )
                time.sleep(0.003 * attempt)  # another moment of the next push
            finally:
                process.send_signal(signal.SIGKILL)
        assert versions(tmp_path)
        for number in versions(tmp_path):
            assert {p.relative_to(tmp_path / str(number)) for p in (tmp_path / str(number)).rglob("*")} == expected
    latest = push(models / "2", tmp_path, force=True)
    assert served_number(latest) == 2 and not list(tmp_path.glob(".*.tmp-*"))


def test_live_model_answers_every_request_whole_while_versions_switch(models, tmp_path):
    import tensorflow as tf

    from trainers.serving.live_model import LiveModel

    for number in (1, 2):
        push(models / str(number), tmp_path, force=True)
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(0.5)
    examples = [example.SerializeToString()] * 64
    stop, failed, seen = threading.Event(), [], []

    def ask(live):
        while not stop.is_set():
            try:
                answer = live.predict(examples)
                numbers = set(answer[:, 0].tolist())
                assert len(answer) == 64 and len(numbers) == 1, f"one request met the versions {numbers}"
                np.testing.assert_array_equal(answer[:, 1], answer[:, 0] + 0.5)
                seen.append(next(iter(numbers)))
            except Exception as error:
                failed.append(error)
                return

    with LiveModel(tmp_path, poll_s=0.02) as live:
        threads = [threading.Thread(target=ask, args=(live,)) for _ in range(4)]
        [t.start() for t in threads]
        steps = [lambda n=n: push(models / str(n), tmp_path, force=True, keep=3) for n in (3, 4, 1)]
        for step in [*steps, lambda: rollback(tmp_path), *steps, lambda: rollback(tmp_path)]:
            number, asked = int(step().name), len(seen)

            def switched(number=number, asked=asked):
                return failed or (live.version == number and len(seen) >= asked + 20)

            eventually(switched, f"version {number} answers", poll_s=0.01)
            assert live.version == number
        stop.set()
        [t.join() for t in threads]
    assert not failed, failed[0]
    assert {2.0, 3.0, 4.0, 1.0} == set(seen) and len(seen) > 8 * 20


def test_live_model_keeps_serving_when_new_version_is_broken(models, tmp_path):
    import tensorflow as tf

    from trainers.serving.live_model import LiveModel

    with pytest.raises(ConfigError, match="no version is there"):
        LiveModel(tmp_path)
    push(models / "1", tmp_path, force=True)
    live = LiveModel(tmp_path, poll_s=None)
    broken = tmp_path / "7"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"not a model")
    assert live.reload() == 1 and list(live.failed) == [7]
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(1.0)
    assert live.predict([example.SerializeToString()]).tolist() == [[1.0, 2.0]]
    assert push(models / "3", tmp_path, force=True).name == "8" and live.reload() == 8
    with (
        live.hold() as version,
        pytest.raises(ConfigError, match="no signature 'other', only raw_features, serving_default"),
    ):
        version.call("other")


def _delimited(field: int, value: bytes, length: int | None = None) -> bytes:
    left = len(value) if length is None else length
    out = bytearray([field << 3 | 2])
    while left >= 128:
        out.append(left & 127 | 128)
        left >>= 7
    return bytes(out) + bytes([left]) + value


def _request(feature: bytes) -> bytes:
    return _delimited(1, _delimited(1, _delimited(1, b"x") + _delimited(2, feature)))


@pytest.mark.parametrize("length", [2**31, 2**31 + 5, 2**32 - 1])
@pytest.mark.parametrize("kind", [1, 2, 3], ids=["bytes", "float", "int64"])
def test_live_model_request_with_an_impossible_length_is_refused(live_model, kind, length):
    """TensorFlow's own parser ends the process on some of these; a good request after it is answered."""
    from engine import DataError

    good = _good_request()
    bad = _request(_delimited(kind, _delimited(1, b"xxxx", length)))
    for requests in ([bad], [good, bad]):
        with pytest.raises(DataError, match=f"record {len(requests) - 1}: the request is not a tf.Example"):
            live_model.predict(requests)
    assert live_model.predict([good]).tolist() == [[1.0, 3.0]]


def test_live_model_answers_as_the_model_itself_does(live_model):
    """Whatever protobuf rewrites (order, packing, unknown fields, split messages), the answer is that of the bytes as sent."""
    import tensorflow as tf

    packed, plain = _request(_delimited(2, _delimited(1, b"\0\0\0\x40"))), _request(_delimited(2, b"\x0d\0\0\0\x40"))
    unknown = _delimited(9, b"abc") + packed
    twice = _request(_delimited(2, _delimited(1, b"\0\0\x80\x3f"))) + packed  # the later one counts
    with live_model.hold() as version:
        for request in (packed, plain, unknown, twice):
            raw = version.loaded.signatures["serving_default"](examples=tf.constant([request]))["both"].numpy()
            assert live_model.predict([request]).tolist() == raw.tolist()


def _good_request() -> bytes:
    import tensorflow as tf

    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(2.0)
    return example.SerializeToString()


@pytest.fixture(scope="module")
def live_model(models):
    import shutil

    from trainers.serving.live_model import LiveModel

    served = models.parent / "served"
    shutil.copytree(models / "1", served / "1")
    with LiveModel(served, poll_s=None) as live:
        yield live


def test_live_model_half_copied_version_is_served_when_the_copy_is_whole(models, tmp_path):
    import shutil

    from trainers.serving.live_model import LiveModel

    shutil.copytree(models / "1", tmp_path / "1")
    live = LiveModel(tmp_path, poll_s=None)
    (tmp_path / "7").mkdir()
    shutil.copy(models / "2" / "saved_model.pb", tmp_path / "7")  # as rsync or cp -r bring it: the variables come later
    assert live.reload() == 1 and list(live.failed) == [7]
    shutil.copytree(models / "2", tmp_path / "7", dirs_exist_ok=True)
    assert live.reload() == 7 and not live.failed
    assert live.predict([_good_request()]).tolist() == [[2.0, 4.0]]
