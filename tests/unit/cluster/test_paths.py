"""Spellings of one place: a URI that lost a slash or names a machine is refused, never a directory of that name here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.launchers.local import LocalLauncher
from cluster.pipeline.config import load_pipeline
from cluster.report.write import write_page
from cluster.tuning import search
from cluster.tuning.config import SearchConfig
from engine import ConfigError, Dataset, ingest
from engine.storage.uris import is_remote, local_path
from trainers.serving.server.config import ModelConfig, ServeConfig

LOST = [Path("s3://bucket/out"), Path("gs://bucket/out"), "hdfs:/out", "S3:/bucket/out", "https:/host/out"]
ELSEWHERE = ["file://host/out", "file://data/out", "file://./out"]


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw.csv").write_text("x\n1\n2\n")
    return tmp_path / "raw.csv"


@pytest.mark.parametrize(
    ("path", "said"), [*((p, "lost a slash") for p in LOST), *((p, "file:///") for p in ELSEWHERE)]
)
def test_uri_that_is_none_is_refused_and_makes_no_directory(raw, tmp_path, path, said):
    with pytest.raises(ConfigError, match=said):
        ingest(raw, path)
    with pytest.raises(ConfigError, match=said):
        Dataset.open(path)
    with pytest.raises(ConfigError, match=said):
        Dataset.open(ingest(raw, tmp_path / "data").out).write(path)
    assert sorted(os.listdir()) == ["data", "raw.csv"]


def test_message_has_both_that_may_have_been_meant():
    with pytest.raises(ConfigError, match=r"give 's3://bucket/out' as a text, or './s3:/bucket/out' for a local path"):
        is_remote(str(Path("s3://bucket/out")))


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "FILE://{}", "file://localhost{}", "file://LOCALHOST{}"])
def test_all_forms_of_a_file_uri_are_one_directory(raw, tmp_path, form):
    uri = form.format(tmp_path / "out")
    assert ingest(form.format(raw), uri).out == str(tmp_path / "out")
    assert sorted(row["x"] for batch in Dataset.open(uri).read_batches() for row in batch.to_pylist()) == [1, 2]
    assert sorted(os.listdir()) == ["out", "raw.csv"]


def test_a_file_uri_is_decoded_and_a_path_is_as_it_is_written(raw, tmp_path):
    """As `Path.as_uri`, Spark and browsers write it."""
    for name in ("my out", "100%", "a%20b", "ü", "k=a%2Fb"):
        uri = (tmp_path / name).as_uri()
        assert ingest(raw.as_uri(), uri, num_shards=1).out == str(tmp_path / name)
        for form in (uri, str(tmp_path / name), name):
            assert [row["x"] for batch in Dataset.open(form).read_batches() for row in batch.to_pylist()] == [1, 2]
    assert sorted(os.listdir()) == sorted(["my out", "100%", "a%20b", "ü", "k=a%2Fb", "raw.csv"])
    assert local_path("file:///a%FFb") == Path(os.fsdecode(b"/a\xffb"))


def test_the_home_directory_has_a_name_where_no_shell_replaces_it(raw, tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    home.mkdir()
    assert ingest(raw, "~/out", num_shards=1).out == str(home / "out")
    assert Dataset.open("~/out").num_records == Dataset.open("~/out/*.parquet").num_records == 2
    (tmp_path / "m.py").write_text("")
    (tmp_path / "pipeline.toml").write_text(
        '[pipeline]\nname = "a"\nlabel = "y"\nmodule = "m.py"\nwork_dir = "~/runs"\n[ingest]\nfeature_spec = "~/s.pbtxt"\n'
        '[ingest.sources]\na = "~/raw.csv"\nb = "file:///x/a%20b.csv"\nc = "raw.csv"\n'
    )
    pipeline = load_pipeline(tmp_path / "pipeline.toml")
    assert pipeline.work_dir == str(home / "runs") and pipeline.ingest.feature_spec == str(home / "s.pbtxt")
    paths = {"a": str(home / "raw.csv"), "b": "/x/a b.csv", "c": str(tmp_path / "raw.csv")}
    assert pipeline.ingest.sources == paths
    assert sorted(os.listdir()) == ["home", "m.py", "pipeline.toml", "raw.csv"]


def test_a_directory_that_is_called_as_the_home_directory_is_none(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for directory in ("~", "~x"):
        ingest(raw, f"./{directory}/out", num_shards=1)
    assert Dataset.open("~*/out/*.parquet").num_records == 4 and local_path("~x/a") == Path("~x/a")


@pytest.mark.parametrize("name", ["s3:/x", "file:x", "a:/b", "s3", "files:/x"])
def test_names_with_a_colon_are_paths(name):
    assert not is_remote(f"./{name}") and local_path(f"./{name}") == Path(name)
    if name != "s3:/x":
        assert not is_remote(name) and local_path(name) == Path(name)


def test_pipeline_refuses_them_too(raw, tmp_path):
    (tmp_path / "pipeline.toml").write_text(
        '[pipeline]\nname = "a"\nlabel = "y"\nmodule = "m.py"\nwork_dir = "s3:/bucket/runs"\n'
    )
    (tmp_path / "m.py").write_text("")
    with pytest.raises(ConfigError, match="lost a slash"):
        load_pipeline(tmp_path / "pipeline.toml")


def _serve(directory):
    model = ModelConfig(name="m", directory="models")
    return ServeConfig(models=(model,), record_share=0.5, record_directory=directory)


@pytest.mark.parametrize("uri", ["s3://bucket/out.html", "s3:/bucket/out.html", "file://host/out.html"])
@pytest.mark.parametrize(
    "writer",
    [
        lambda uri: write_page("<p>", uri),
        lambda uri: LocalLauncher(uri),
        _serve,
        lambda uri: search.run(
            SearchConfig(search={"hyperparameters.x": {"choice": [1, 2]}}), {"eval": "data", "out": uri}
        ),
    ],
    ids=["report", "local jobs", "recorded requests", "search"],
)
def test_what_is_written_on_this_machine_alone_takes_no_uri(raw, uri, writer):
    with pytest.raises(ConfigError, match=r"file systems|lost a slash|file:///"):
        writer(uri)
    assert os.listdir() == ["raw.csv"]


def test_page_goes_where_a_file_uri_says(raw, tmp_path):
    assert write_page("<p>", f"file://{tmp_path}/page.html") == tmp_path / "page.html"
    assert (tmp_path / "page.html").read_text() == "<p>" and sorted(os.listdir()) == ["page.html", "raw.csv"]
