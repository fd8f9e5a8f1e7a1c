"""Where an output may go and what it may replace: local directories, file:// and a real S3 server, for every command that writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine import ConfigError, DataError, Dataset, ingest
from engine.storage import atomic, paths
from engine.storage.destination import UNFINISHED, Destination, check_file
from engine.storage.remote import RemoteOptions, use_options
from engine.storage.tree import list_tree
from tests.support.servers.s3 import FaultyProxy, environment_of, s3_server

ROOT = Path(__file__).resolve().parents[3]
FAST = RemoteOptions(attempts=1, backoff_s=0.01)
MANIFEST = "_fullpass_manifest.json"


@pytest.fixture(scope="module")
def server():
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def environment(server, monkeypatch, tmp_path):
    for name, value in environment_of(server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    yield
    assert [each for each in os.listdir(tmp_path) if ":" in each] == [], "a URI was taken for a local name"


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw.csv").write_text("id\n" + "".join(f"{i}\n" for i in range(10)))
    return str(tmp_path / "raw.csv")


def ids(path: str) -> list[int]:
    return [i for batch in Dataset.open(path).read_batches() for i in batch.column("id").to_pylist()]


def put(uri: str, data: bytes = b"precious") -> None:
    with paths.open_output(uri) as file:
        file.write(data)


def test_ingest_to_file_uri_is_the_local_directory(raw, tmp_path):
    report = ingest(raw, f"file://{tmp_path}/out", num_shards=2)
    assert report.out == str(tmp_path / "out") and ids(f"{tmp_path}/out") == ids(f"file://{tmp_path}/out") == list(
        range(10)
    )
    assert report.parts[""].paths[0].startswith(str(tmp_path / "out"))


def test_ingest_to_s3_anew_leaves_nothing_of_the_former_result(raw):
    out = "s3://data/anew"
    ingest(raw, out, num_shards=4)
    ingest(raw, out, num_shards=2)
    assert list_tree(out) == [MANIFEST, "data-00000-of-00002.parquet", "data-00001-of-00002.parquet"]
    assert ids(out) == list(range(10))


@pytest.mark.parametrize("compression", ["gzip", "zlib"])
def test_compressed_shards_on_s3_are_compressed_once(raw, compression):
    ingest(raw, f"s3://data/{compression}", format="tfrecord", num_shards=1, compression=compression)
    assert ids(f"s3://data/{compression}") == list(range(10))


def test_parts_on_s3_become_valid_each_by_its_manifest(raw):
    out = "s3://data/parts"
    for _ in range(2):
        ingest(raw, out, num_shards=1, split_by=["id"], fractions={"a": 0.5, "b": 0.5})
    assert sorted(ids(f"{out}/a") + ids(f"{out}/b")) == list(range(10))
    assert not [name for name in list_tree(out) if name.endswith(UNFINISHED)]


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ({"notes.txt"}, "holds 'notes.txt', and is not a former result"),
        ({f"train/{MANIFEST}", "notes.txt"}, "holds 'notes.txt' and more, and is not a former result"),
    ],
)
@pytest.mark.parametrize("base", ["s3://data/foreign", "local"])
def test_files_of_another_origin_are_refused_and_stay(raw, tmp_path, base, there, message):
    out = f"{base}-{len(there)}"
    for name in there:
        put(paths.join(out, name))
    with pytest.raises(ConfigError, match=message):
        ingest(raw, out)
    assert set(list_tree(out)) == there


def test_sources_and_objects_on_s3_are_not_replaced(raw):
    ingest(raw, "s3://data/src/in", num_shards=1)
    with pytest.raises(ConfigError, match="which is read: writing it anew would delete that"):
        Dataset.open("s3://data/src/in").write("s3://data/src/in")
    with pytest.raises(ConfigError, match="lies in s3://data/src/in, which is read whole"):
        ingest("s3://data/src/in", "s3://data/src/in/out")
    put("s3://data/src/object")
    with pytest.raises(ConfigError, match="is an object"):
        ingest(raw, "s3://data/src/object")
    assert ids("s3://data/src/in") == list(range(10))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("s3://no-such-bucket/out", "cannot be written"),
        ("https://example.org/out", "can only be read"),
        ("s3://data/out?region=x", "AWS_ENDPOINT_URL"),
        ("raw.csv/out", "is a file"),
        ("raw.csv", "is a file"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_read(raw, monkeypatch, out, message):
    monkeypatch.setattr(sys.modules["engine.ingestion.ingestion"], "open_source", lambda *_: pytest.fail("opened"))
    with use_options(FAST), pytest.raises(ConfigError, match=message):
        ingest(raw, out)


def test_a_killed_writer_leaves_what_is_refused_and_replaced(raw):
    out = "s3://data/killed"
    code = f"""
import os, signal
from engine.dataset.dataset import Manifest
Manifest.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from engine import ingest
ingest({raw!r}, {out!r}, num_shards=2)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT).returncode == -signal.SIGKILL
    assert [name for name in list_tree(out) if name.endswith(".parquet")]
    with pytest.raises(DataError, match="is not finished: its writer is at work or was killed"):
        Dataset.open(out)
    ingest(raw, out, num_shards=1)
    assert ids(out) == list(range(10))


def test_a_write_that_fails_leaves_nothing(raw, server, monkeypatch):
    def fault(request):
        return "503" if request.method == "PUT" and "00001-of" in request.path else None

    with FaultyProxy(server, fault) as proxy, use_options(FAST):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{proxy.address}")
        with pytest.raises(DataError, match="00001-of-00002"):
            ingest(raw, "s3://data/failed", num_shards=2)
    assert list_tree("s3://data/failed") == []


def test_staged_output_ends_with_its_mark_and_replaces_the_former(server, monkeypatch):
    destination = Destination("s3://data/staged", "model/saved.pb")
    for names in (("model/saved.pb", "model/old", "zeta"), ("model/saved.pb", "model/a", "zoo")):
        with FaultyProxy(server, lambda _: None) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{proxy.address}")
            destination.check()
            with destination.stage() as directory:
                (directory / "model").mkdir()
                for name in names:
                    (directory / name).write_text(name)
            changed = [
                r.path for r in proxy.requests if r.method in ("PUT", "DELETE", "POST") and "probe" not in r.path
            ]
            assert changed[-1].startswith("/data/staged/model/saved.pb")
    assert list_tree("s3://data/staged") == sorted(names)


def test_an_evaluation_result_goes_to_s3_and_comes_back(tmp_path):
    from trainers.evaluation.result import EvaluationResult

    result = EvaluationResult(model="m", label="y", rows=1, overall={"auc": 0.5}, slices=[], model_sha256="0" * 64)
    result.save("s3://data/evaluation/result.json")
    assert EvaluationResult.load("s3://data/evaluation/result.json").as_json() == result.as_json()
    assert list_tree("s3://data/evaluation") == ["result.json", "result.md"]
    check_file("s3://data/evaluation/result.json")
    with use_options(FAST), pytest.raises(ConfigError, match="cannot be written"):
        check_file("s3://no-such-bucket/result.json")


def test_steps_that_need_renames_and_locks_refuse_uris_before_they_begin(tmp_path, monkeypatch, capsys):
    from cluster.launchers.state import state_directory
    from cluster.pipeline import DataConfig, Pipeline, PushConfig
    from transforms.cache import analyze_spans
    from transforms.runners import make_runner

    uri = "s3://data/anything"
    monkeypatch.setenv("FULLPASS_STATE_DIR", uri)
    for refused in (
        lambda: Pipeline(name="p", module="m.py", label="y", work_dir=uri, data=DataConfig(train="a", eval="b")),
        lambda: PushConfig(to=uri),
        lambda: analyze_spans({}, print, "graph", uri),
        lambda: make_runner("beam", [f"--work_dir={uri}"]),
        lambda: RemoteOptions(cache_dir=uri),
        state_directory,
    ):
        with pytest.raises(ConfigError, match="machine"):
            refused()
    words = ["run", "--module", "m.py", "--data", "nowhere", "--out", uri]
    assert main(["export", *words]) == 2
    assert "--out 's3://data/anything' is not on this machine's file systems" in capsys.readouterr().err


@pytest.fixture(scope="module")
def preprocessing_fn():

    def function(inputs):
        import tensorflow_transform as tft

        return {"x": tft.scale_to_0_1(inputs["x"])}

    return function


def test_analysis_and_transformation_on_s3_equal_the_local_ones(tmp_path, preprocessing_fn):
    from transforms import analyze, transform

    pq.write_table(pa.table({"x": [1.0, 2.0, 5.0]}), tmp_path / "x.parquet")
    dataset = Dataset.open(tmp_path / "x.parquet")
    report = analyze(dataset, preprocessing_fn, "s3://data/graph")
    assert report.path == "s3://data/graph"
    analyze(dataset, preprocessing_fn, tmp_path / "graph")
    local = {str(p.relative_to(tmp_path / "graph")) for p in (tmp_path / "graph").rglob("*") if p.is_file()}
    assert {name for name in list_tree("s3://data/graph") if "variables" not in name} == {
        name for name in local if "variables" not in name
    }
    transform(dataset, "s3://data/graph", "s3://data/transformed", format="tfrecord", compression="gzip")
    transform(dataset, tmp_path / "graph", tmp_path / "transformed")
    assert list_tree("s3://data/transformed") == [MANIFEST, "part-00000-of-00001.tfrecord.gz"]
    theirs, ours = (
        [row for batch in Dataset.open(each).read_batches() for row in batch.to_pylist()]
        for each in (tmp_path / "transformed", "s3://data/transformed")
    )
    assert ours == theirs and len(ours) == 3

    def other(inputs):
        return {"x": inputs["x"] * 0.0}

    analyze(dataset, other, "s3://data/graph")
    transform(dataset, "s3://data/graph", "s3://data/transformed")
    rows = [row for batch in Dataset.open("s3://data/transformed").read_batches() for row in batch.to_pylist()]
    assert rows == [{"x": 0.0}] * 3, "the graph that is there now"


def test_files_of_a_new_directory_reach_the_disk_once_and_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    sync, rename = os.fsync, os.replace

    def fsync(descriptor):
        seen.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def replace(old, new):
        seen.append(f"is {os.path.basename(new)}")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    with atomic.atomic_directory(tmp_path / "out") as directory:
        for name in ("a", "part/b"):
            with atomic.atomic_file(directory / name) as path:
                path.write_text("x")
    with atomic.atomic_file(tmp_path / "out" / "later") as path:
        path.write_text("x")
    whole = seen.index("is out")
    assert seen[:whole].count("a") == seen[:whole].count("b") == 1 and seen[:whole].count("part") == 1
    assert next(name for name in seen[whole:] if "later" in name).startswith(
        ".later.tmp-"
    )  # by itself, before its rename


def test_an_output_without_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="the output is ''"):
        ingest("a.parquet", "")
    assert os.listdir(tmp_path) == ["a.parquet"]
