"""Which files a data set has: a file that a manifest lists is missed in every form that the data can be named in."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine import DataError, Dataset, ingest, open_source, write_batches
from engine.formats.read import read_split
from engine.storage.tables import refuse_tables

FORMS = {
    "directory": lambda out: out,
    "slash": lambda out: f"{out}/",
    "dot": lambda out: f"{os.path.dirname(out)}/./{os.path.basename(out)}",
    "uri": lambda out: f"file://{out}",
    "glob": lambda out: f"{out}/*.parquet",
    "glob of directories": lambda out: f"{out[:-1]}*",
    "numbers": lambda out: f"{out}/data-0000[0-3]-*",
    "list of a directory": lambda out: [out],
    "what a shell makes of a glob": lambda out: sorted(glob.glob(f"{out}/*.parquet")),
}


@pytest.fixture
def out(tmp_path):
    source = str(tmp_path / "source.parquet")
    pq.write_table(pa.table({"x": list(range(100))}), source)
    ingest(source, tmp_path / "out", num_shards=4)
    return str(tmp_path / "out")


@pytest.mark.parametrize("form", FORMS)
def test_a_deleted_shard_is_refused_by_name_in_every_form(out, form):
    whole = Dataset.open(FORMS[form](out))
    assert whole.num_records == 100 and len(whole.known_entries) == 4 and not whole.left_out
    gone = sorted(glob.glob(f"{out}/*.parquet"))[1]
    os.unlink(gone)
    with pytest.raises(DataError, match="is listed in the manifest with 25 records, but is not there") as caught:
        Dataset.open(FORMS[form](out))
    assert os.path.abspath(caught.value.path) == gone
    report = Dataset.open(FORMS[form](out), check_present=False).verify()
    assert [os.path.abspath(damage.path) for damage in report.damages] == [gone]


def test_relative_names_find_the_manifest_too(out, monkeypatch):
    monkeypatch.chdir(os.path.dirname(out))
    for form in ("out", "./out", "out/", "./out/*.parquet"):
        assert len(Dataset.open(form).known_entries) == 4
    os.unlink(sorted(glob.glob("out/*.parquet"))[3])
    for form in ("out", "./out", "./out/*.parquet"):
        with pytest.raises(DataError, match="is listed in the manifest"):
            Dataset.open(form)


def test_a_glob_that_leaves_shards_out_on_purpose_is_said_so(out, caplog):
    some = Dataset.open(f"{out}/data-0000[01]*")
    assert some.num_records == 50
    assert [os.path.basename(path) for path in some.left_out] == [
        "data-00002-of-00004.parquet",
        "data-00003-of-00004.parquet",
    ]
    assert "reading 2 of the 4 files that the manifest lists" in caplog.text
    report = some.verify()
    assert report.ok and report.against_manifest and report.left_out == some.left_out


def test_without_a_manifest_the_names_of_shards_say_which_are_not_there(out, caplog):
    os.unlink(os.path.join(out, "_fullpass_manifest.json"))
    assert Dataset.open(out).verify().unchecked == ()
    assert "names of shards" not in caplog.text
    os.unlink(sorted(glob.glob(f"{out}/*.parquet"))[2])
    report = Dataset.open(out).verify()
    assert "say that there are 4, of which data-00002-of-00004.parquet are not read" in report.unchecked[0]
    assert report.unchecked[0] in caplog.text


def test_a_file_beside_the_manifest_that_it_does_not_list_is_read_and_verify_says_what_was_not_checked(out):
    extra = os.path.join(out, "extra.parquet")
    pq.write_table(pa.table({"x": [1, 2]}), extra)
    ds = Dataset.open(out)
    assert ds.num_records == 102
    report = ds.verify()
    assert report.ok and not report.against_manifest and report.unlisted == (extra,)


def test_a_shard_deleted_in_an_object_store_is_refused():
    import fsspec

    table = pa.table({"x": list(range(40))})
    store = fsspec.filesystem("memory")
    store.mkdirs("/shards", exist_ok=True)
    with store.open("/shards/source.parquet", "wb") as file:
        pq.write_table(table, file)
    ingest("memory://shards/source.parquet", "memory://shards/out", num_shards=4)
    forms = ["memory://shards/out", "memory://shards/out/", "memory://shards/out/*.parquet", ["memory://shards/out"]]
    for form in forms:
        assert Dataset.open(form).num_records == 40
    store.rm("/shards/out/data-00002-of-00004.parquet")
    for form in forms:
        with pytest.raises(DataError, match="is listed in the manifest with 10 records") as caught:
            Dataset.open(form)
        assert caught.value.path.endswith("out/data-00002-of-00004.parquet")


def test_links_to_directories_are_followed_and_loops_end(tmp_path, caplog):
    for name in ("data", "elsewhere"):
        os.makedirs(tmp_path / name)
        pq.write_table(pa.table({"x": [1, 2]}), tmp_path / name / "a.parquet")
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "link")
    os.symlink(tmp_path / "data", tmp_path / "data" / "loop")
    ds = Dataset.open(tmp_path / "data")
    assert ds.num_records == 4
    assert "leads to a directory that it lies in" in caplog.text
    os.symlink(tmp_path / "data" / "link", tmp_path / "top")
    assert Dataset.open(tmp_path / "top").num_records == 2


@pytest.mark.parametrize("form", ["data", "data/gone.parquet", "data/g*"])
def test_a_link_to_nothing_is_refused_with_what_it_leads_to(tmp_path, form):
    os.makedirs(tmp_path / "data")
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "data" / "a.parquet")
    os.symlink(tmp_path / "annexed", tmp_path / "data" / "gone.parquet")
    with pytest.raises(DataError, match=r"is a link to .*annexed, which is not there"):
        Dataset.open(tmp_path / form)


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
@pytest.mark.parametrize("listed", [True, False])
def test_verify_reports_a_link_to_nothing_and_reads_the_rest(tmp_path, capsys, format, listed):
    out = tmp_path / "out"
    pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "a.parquet")
    ingest(tmp_path / "a.parquet", out, format, num_shards=3)
    gone = sorted(path for path in out.iterdir() if path.name.startswith("data"))[1]
    gone.unlink()
    gone.symlink_to(tmp_path / "annexed")
    if not listed:
        (out / "_fullpass_manifest.json").unlink()
    assert main(["-q", "verify", str(out)]) == 3
    shown = capsys.readouterr().out
    assert f"is a link to {tmp_path}/annexed, which is not there" in shown
    assert "3 files, 2 whole records, 1 damages" in shown
    assert main(["-q", "verify", str(gone)]) == (3 if listed else 2)


def test_what_tfds_and_hugging_face_lay_beside_shards_is_left_out(tmp_path):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "train-00000-of-00001.parquet")
    for name in (
        "README.md",
        "dataset_info.json",
        "features.json",
        "label.labels.txt",
        "LICENSE",
        "state.json",
        "x.parquet.crc",
    ):
        (tmp_path / name).write_text("{}")
    assert Dataset.open(tmp_path).paths == [str(tmp_path / "train-00000-of-00001.parquet")]


def test_a_directory_of_tfds_reads_all_splits_and_says_so(tmp_path, caplog):
    import tensorflow as tf

    for split, count in (("train", 3), ("test", 2)):
        with tf.io.TFRecordWriter(str(tmp_path / f"mnist-{split}.tfrecord-00000-of-00001")) as writer:
            for label in range(count):
                feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
                example = tf.train.Example(features=tf.train.Features(feature={"label": feature}))
                writer.write(example.SerializeToString())
    for name in ("dataset_info.json", "features.json", "label.labels.txt"):
        (tmp_path / name).write_text("{}")
    assert Dataset.open(str(tmp_path)).num_records == 5
    assert "holds files of the splits test, train, and all are read" in caplog.text
    assert Dataset.open(f"{tmp_path}/mnist-train*").num_records == 3


@pytest.mark.parametrize(
    "names", [["train.csv", "test.csv"], ["train/a.csv", "validation/a.csv"], ["train/a.jsonl", "test/a.jsonl"]]
)
def test_files_and_directories_of_several_splits_are_named(tmp_path, caplog, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"a":1}\n' if name.endswith("l") else "a\n1\n")
    assert open_source(str(tmp_path)).num_records == 2
    splits = ", ".join(sorted(name.replace(".", "/").split("/")[0] for name in names))
    assert f"{tmp_path} holds files of the splits {splits}, and all are read" in caplog.text
    caplog.clear()
    (first, *_) = names
    assert open_source(f"{tmp_path}/{first}").num_records == 1 and "splits" not in caplog.text


def test_verify_says_on_the_command_line_what_it_held_the_files_against(out, capsys):
    from cluster.cli.main import main

    assert main(["verify", f"{out}/data-0000[01]*"]) == 0
    assert "2 more files that it lists were not named, and so not checked" in capsys.readouterr().out
    os.unlink(sorted(glob.glob(f"{out}/*.parquet"))[1])
    assert main(["verify", f"{out}/*.parquet"]) == 3
    assert "is listed in the manifest with 25 records, but is not there" in capsys.readouterr().out


def test_a_file_that_is_spelled_in_two_ways_is_read_once(tmp_path):
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "d" / "a.parquet")
    (tmp_path / "link").symlink_to(tmp_path / "d")
    for other in ("d/a.parquet", "d/../d/a.parquet", "./d//a.parquet", "d", "d/*.parquet", "link/a.parquet"):
        ds = Dataset.open([tmp_path / "d" / "a.parquet", f"{tmp_path}/{other}"])
        assert [b.to_pydict() for b in ds.read_batches()] == [{"x": [1, 2]}]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_links_to_one_file_are_said(tmp_path, link, caplog):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    assert Dataset.open(tmp_path).num_records == 2 and not caplog.messages
    link(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert Dataset.open(tmp_path).num_records == 4  # as pyarrow reads the directory
    assert caplog.messages == [
        f"{tmp_path}/a.parquet and {tmp_path}/b.parquet are links to one file: its records are read once for each of such names"
    ]


@pytest.mark.parametrize("other", ["./a.csv", "../d/a.csv", "*.csv", "."])
def test_a_csv_file_that_is_spelled_in_two_ways_is_ingested_once(tmp_path, monkeypatch, other):
    (tmp_path / "d").mkdir()
    monkeypatch.chdir(tmp_path / "d")
    (tmp_path / "d" / "a.csv").write_text("x\n1\n2\n")
    assert ingest(["a.csv", other], tmp_path / "out", num_shards=1).num_records == 2


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_links_to_one_csv_file_are_said(tmp_path, link, caplog):
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    link(tmp_path / "a.csv", tmp_path / "b.csv")
    assert ingest([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out", num_shards=1).num_records == 4
    assert [said for said in caplog.messages if "are links to one file" in said] == [
        f"{tmp_path}/a.csv and {tmp_path}/b.csv are links to one file: its records are read once for each of such names"
    ]


def test_files_that_a_manifest_beside_them_does_not_list_are_said(tmp_path, caplog):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    ingest(tmp_path / "a.parquet", tmp_path / "out", num_shards=2)
    assert Dataset.open(tmp_path / "out").num_records == 2 and not caplog.messages
    pq.write_table(pa.table({"x": [3]}), tmp_path / "out" / "extra.parquet")
    said = f"{tmp_path}/out: not in the manifest there, and read as well: extra.parquet; move away what does not belong there"
    for given in (tmp_path / "out", tmp_path / "out" / "*.parquet", tmp_path):
        caplog.clear()
        Dataset.open(given)
        assert [message for message in caplog.messages if "not in the manifest" in message] == [said], given
    caplog.clear()
    assert Dataset.open(tmp_path / "out" / "_fullpass_manifest.json").num_records == 2
    assert Dataset.open([tmp_path / "out" / "extra.parquet"]).num_records == 1
    assert not [message for message in caplog.messages if "not in the manifest" in message], "named by the user"


@pytest.mark.parametrize("rows", [[[], []], [[], None]], ids=["all there", "one missing"])
def test_fixed_size_lists_of_no_value_are_read(tmp_path, rows):
    table = pa.table({"e": pa.array(rows, pa.list_(pa.int64(), 0)), "x": [1, 2]})
    pq.write_table(table, tmp_path / "a.parquet")
    (batch,) = Dataset.open(tmp_path / "a.parquet").read_batches()
    batch.validate(full=True)
    assert batch.to_pylist() == table.to_pylist()


@pytest.mark.parametrize("format", ["parquet", "arrow", "orc", "csv", "jsonl", "tfrecord"])
def test_names_that_are_no_utf8_are_names(tmp_path, format):
    """The library that reads the file may take no such name; the bytes in it are whole."""
    table = pa.table({"x": [1, 2]})
    place = os.fsdecode(os.fsencode(tmp_path) + b"/d\xff")
    os.makedirs(place)
    write = {
        "parquet": lambda file: pq.write_table(table, file),
        "arrow": lambda file: pyarrow.feather.write_feather(table, file),
        "orc": lambda file: pyarrow.orc.write_table(table, file),
        "csv": lambda file: file.write(b"x\n1\n2\n"),
        "jsonl": lambda file: file.write(b'{"x":1}\n{"x":2}\n'),
        "tfrecord": lambda file: file.write(_tfrecord(tmp_path, table)),
    }
    path = os.path.join(place, os.fsdecode(b"a\xff." + format.encode()))
    with open(path, "wb") as file:
        write[format](file)
    out = f"{place}-out"
    ingest(place, out, num_shards=1)
    assert pa.Table.from_batches(Dataset.open(out).read_batches()).to_pydict() == {"x": [1, 2]}
    if format != "csv":
        assert pa.Table.from_batches(Dataset.open(path).read_batches()).to_pydict() == {"x": [1, 2]}


def _tfrecord(directory, table):
    write_batches(table.to_batches(), pa.schema([pa.field("x", pa.int64(), False)]), str(directory / "t"), "tfrecord")
    return (directory / "t").read_bytes()


@pytest.mark.parametrize("name", [b"k=\xff", b"k=%FF", b"\xff=1"])
def test_a_directory_that_names_a_column_and_is_no_text_is_refused(tmp_path, name):
    place = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(place)
    with open(place + b"/a.parquet", "wb") as file:
        pq.write_table(pa.table({"x": [1]}), file)
    with pytest.raises(
        DataError, match=r"lies in a directory whose name says .* of a column, which is no text of UTF-8"
    ):
        list(Dataset.open(str(tmp_path)).read_batches())


TABLES = {
    "Delta": ("", "_delta_log/00000000000000000000.json"),
    "Hudi": ("", ".hoodie/hoodie.properties"),
    "Iceberg": ("data/", "metadata/00001-6d0b1e2c-9f3a-4c55-8e0f-0123456789ab.gz.metadata.json"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_directory_whose_metadata_say_which_files_count_is_refused(tmp_path, kind, caplog):
    """A file that a Delta table's log removes stays where it is: its records would be read as the others."""
    top = str(tmp_path / kind)
    below, mark = TABLES[kind]
    parquet = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), parquet)
    for name, data in ((f"{below}y=1/a.parquet", parquet.getvalue().to_pybytes()), (mark, b"{}")):
        os.makedirs(os.path.dirname(f"{top}/{name}"), exist_ok=True)
        with open(f"{top}/{name}", "wb") as file:
            file.write(data)
    for call in (Dataset.open, lambda path: ingest(path, tmp_path / "out")):
        with pytest.raises(DataError, match=f"is a table of {kind}: its own metadata alone say") as caught:
            call(top)
        assert caught.value.path == top
    files = Dataset.open(f"{top}/{below}*/*.parquet")
    assert [row for batch in files.read_batches() for row in batch.to_pylist()] == [{"x": 1, "y": 1}]
    assert f"{kind}, whose metadata may say that files" in caplog.text


@pytest.mark.parametrize("name", ["a.parquet.metadata.json", "x/data.metadata.json", "v1.metadata.json.txt"])
def test_metadata_of_another_tool_are_no_table(tmp_path, name, caplog):
    side = tmp_path / "metadata" / name
    side.parent.mkdir(parents=True)
    side.write_text("{}")
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "data" / "a.parquet")
    assert Dataset.open(str(tmp_path / "data")).num_records == 1
    refuse_tables([str(side), str(tmp_path / "data" / "a.parquet")])
    assert "is a table of" not in caplog.text


def test_a_directory_of_a_key_is_named_from_where_it_lies(tmp_path, monkeypatch, caplog):
    (tmp_path / "k=1").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "k=1" / "a.parquet")
    monkeypatch.chdir(tmp_path)
    (batch,) = Dataset.open("k=1/a.parquet").read_batches()
    assert batch.to_pylist() == [{"x": 1, "k": 1}]
    (tmp_path / "_delta_log").mkdir()
    Dataset.open("k=1/a.parquet")
    assert caplog.messages[-1].startswith(". is a table of Delta, whose metadata may say")


@pytest.mark.skipif(not os.access("/", os.W_OK), reason="makes a directory of the topmost one")
def test_a_directory_of_a_key_may_lie_in_the_topmost_one():
    place = tempfile.mkdtemp(prefix="k=v", dir="/")
    try:
        pq.write_table(pa.table({"x": [1]}), f"{place}/a.parquet")
        for name in (place, f"{place}/a.parquet"):
            (batch,) = Dataset.open(name).read_batches()
            assert batch.to_pylist() == [{"x": 1, "k": place.removeprefix("/k=")}]
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("below", ["", "/out"])
def test_a_single_manifest_below_a_key_has_it_as_a_column(tmp_path, below, stale):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    out = f"{tmp_path}/all/y=2024{below}"
    ingest(tmp_path / "a.parquet", out, num_shards=2)
    if stale:
        pq.write_table(pa.table({"x": [3]}), f"{out}/more.parquet")
    dataset = Dataset.open(tmp_path / "all")
    rows = sorted(pa.Table.from_batches(dataset.read_batches()).to_pylist(), key=lambda row: row["x"])
    assert rows == [{"x": x, "y": 2024} for x in range(1, 3 + stale)]
    assert dataset.verify().ok
    manifest = dataset.manifest
    splits = [manifest.block_split(block) for block in range(len(manifest.block_records()))]
    assert sum(b.num_rows for one in splits for b in read_split(one, dataset.schema)) == len(rows)
