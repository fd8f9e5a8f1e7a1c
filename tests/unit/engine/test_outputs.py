"""An output directory replaces a former result and nothing else: no source, nobody's own files."""

import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine import ConfigError, Dataset, ingest


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    for number in range(2):
        (tmp_path / "raw" / f"{number}.csv").write_text(f"id\n{number}\n")
    return tmp_path / "raw"


def everything(directory):
    return sorted((str(path), path.read_bytes()) for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("out", ["raw", ".", "raw/0.csv", "raw/shards", "link"])
def test_a_source_is_never_replaced(raw, out, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(raw)
    before = everything(tmp_path)
    with pytest.raises(ConfigError):
        ingest("raw", out)
    assert main(["ingest", "raw", "--out", out]) == 2
    assert "fullpass: error: " in capsys.readouterr().err
    assert everything(tmp_path) == before


def test_files_of_one_directory_may_be_sharded_below_it_by_name(raw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ingest("raw/*.csv", "raw/shards", num_shards=1).num_records == 2


def test_a_data_set_is_not_written_over_itself(raw, tmp_path):
    ingest(raw, tmp_path / "shards", num_shards=2)
    dataset = Dataset.open(tmp_path / "shards")
    with pytest.raises(ConfigError, match=r"shards holds .*data-00000-of-00002\.parquet, which is read"):
        dataset.write(tmp_path / "shards", format="parquet", num_shards=1)
    assert Dataset.open(tmp_path / "shards").num_records == 2


def test_somebodys_own_files_are_not_deleted(raw, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    ingest(raw, mine, num_shards=1)  # an empty directory is taken
    ingest(raw, mine, num_shards=2)  # and so is a former result
    for name in ("data-00000-of-00002.parquet", "data-00001-of-00002.parquet", "_fullpass_manifest.json"):
        os.remove(mine / name)
    (mine / "notes.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"mine holds 'notes\.txt', and is not a former result of this"):
        ingest(raw, mine)
    assert (mine / "notes.txt").read_text() == "precious"


def test_parts_of_a_split_are_a_former_result(raw, tmp_path):
    for _ in range(2):
        ingest(raw, tmp_path / "out", num_shards=1, split_by=["id"], fractions={"a": 0.5, "b": 0.5})


def test_graphs_and_transformed_shards_replace_their_like_alone(tmp_path):

    from transforms import analyze, transform

    data = tmp_path / "data"
    data.mkdir()
    pq.write_table(pa.table({"x": [1.0, 2.0]}), data / "x.parquet")
    dataset = Dataset.open(data)

    def preprocessing_fn(inputs):
        return {"x": inputs["x"]}

    for _ in range(2):
        analyze(dataset, preprocessing_fn, tmp_path / "graph")
        transform(dataset, tmp_path / "graph", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"data holds .*x\.parquet, which is read"):
        analyze(dataset, preprocessing_fn, data)
    with pytest.raises(ConfigError, match=r"data holds .*x\.parquet, which is read"):
        transform(dataset, tmp_path / "graph", data)
    with pytest.raises(ConfigError, match=r"out holds .*, and is not a former result of this"):
        analyze(dataset, preprocessing_fn, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"data is not a transform graph \(no transform_fn/saved_model.pb\)"):
        transform(dataset, data, tmp_path / "other")
    assert (data / "x.parquet").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks /proc which files are open")
@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_what_was_written_and_deleted_again_takes_no_room(raw, tmp_path, format):
    """A failed run's shards are deleted: kept open they would fill the disk for the next one of the same process."""
    place = tmp_path / "written"
    ingest(raw, place, format=format, num_shards=2)
    shutil.rmtree(place)
    ours = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry.path)]
    assert [name for name in ours if name.startswith(str(tmp_path)) and name.endswith("(deleted)")] == []
