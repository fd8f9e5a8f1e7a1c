"""The sources of [ingest] and [data]: each with its own dialect, schema and filters; CSV in [data]."""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json

import pyarrow as pa
import pytest

from cluster.cli.main import build_parser, main
from cluster.pipeline import DataConfig, IngestConfig, PipelineError, SourceConfig, load_pipeline, run_pipeline
from cluster.pipeline.data_config import ingest_of_text
from cluster.pipeline.input_files import csv_columns_of, open_input
from engine import ConfigError, Dataset, ingest
from engine.formats.csv.options import CsvOptions

HEAD = '[pipeline]\nname = "p"\nmodule = "module.py"\nlabel = "x"\nwork_dir = "work"\n'
MODULE = """
def join(batch, tables):
    import pyarrow as pa, pyarrow.compute as pc
    names = tables["names"]
    return batch.append_column("name", pc.take(names["name"].combine_chunks(), pc.index_in(batch["k"], names["k"].combine_chunks())))
"""


def run(folder, text, *words):
    (folder / "pipeline.toml").write_text(HEAD + text)
    return main(["-q", "run", str(folder / "pipeline.toml"), *words])


def rows(directory):
    dataset = Dataset.open(directory)
    return pa.Table.from_batches(dataset.read_batches(), dataset.schema).to_pylist()


def test_each_source_has_a_dialect_of_its_own(tmp_path):
    (tmp_path / "module.py").write_text(MODULE)
    (tmp_path / "raw.txt").write_text("k;x\n" + "".join(f"{i % 3};{i / 2}\n" for i in range(50)))
    (tmp_path / "names.dat").write_bytes("# names\n0\tnull\n1\tÉva\n2\t'a\tb'\n".encode("latin-1"))
    text = """[ingest]
hook = "join"
delimiter = "semicolon"
[ingest.sources]
raw = "raw.txt"
names = { path = "names.dat", input_format = "csv", delimiter = "tab", encoding = "latin-1", skip_rows = 1, quote = "single", """
    text += 'column_names = ["k", "name"], null_values = ["null"] }\n'
    assert run(tmp_path, text) == 0
    latest = tmp_path / "work" / "ingest" / "latest" / "parquet"
    found = sorted([*rows(latest / "train"), *rows(latest / "eval")], key=lambda row: row["x"])
    names = [None, "Éva", "a\tb"]
    assert found == [{"k": i % 3, "x": i / 2, "name": names[i % 3]} for i in range(50)]


def test_data_of_csv_are_ingested_first(tmp_path, capsys):
    (tmp_path / "module.py").write_text("")
    (tmp_path / "a.csv").write_text("k|x\n007|1.5\n")
    (tmp_path / "b.csv").write_text("x|k\n2|zz\n3|8\n")
    text = '[data]\ntrain = "a.csv"\neval = { path = "b.csv" }\ndelimiter = "|"\n'
    assert run(tmp_path, text, "--dry-run") == 0
    assert "ingest     run" in capsys.readouterr().out
    assert run(tmp_path, text) == 0
    latest = tmp_path / "work" / "ingest" / "latest" / "parquet"
    direct = ingest(
        {"train": tmp_path / "a.csv", "eval": tmp_path / "b.csv"},
        tmp_path / "direct",
        csv_options=CsvOptions(delimiter="|"),
    )
    assert {part: manifest.num_records for part, manifest in direct.parts.items()} == {"train": 1, "eval": 2}
    for part in ("train", "eval"):
        assert rows(latest / part) == rows(tmp_path / "direct" / part)
    assert rows(latest / "train") == [{"k": "007", "x": 1.5}]
    assert run(tmp_path, text, "--dry-run") == 0
    assert "ingest     skip" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("first", "other", "content"),
    [
        ("part-00000", "part-00001", b""),
        ("part-00000.gz", "part-00001", gzip.compress(b"")),
        ("a.csv", "b.csv", b""),
        ("a.csv", "b.csv", b"k;x\n"),
    ],
    ids=["nothing", "packed nothing", "empty", "names alone"],
)
def test_a_first_part_that_is_empty_says_nothing_of_the_others(tmp_path, first, other, content):
    """The table's dialect and types hold for what is in the others; [data] takes them for CSV, too."""
    for part in ("train", "eval"):
        (tmp_path / part).mkdir()
        (tmp_path / part / first).write_bytes(content)
        (tmp_path / part / other).write_text("k;x\n" + "".join(f"{i:03};{i}\n" for i in range(3)))
    table = DataConfig(train=str(tmp_path / "train"), eval=str(tmp_path / "eval"), delimiter=";")
    source = table.source("train")
    assert csv_columns_of(source) == ["k", "x"]
    opened = open_input(source, None, {"k": "string", "x": "float32"})
    found = pa.Table.from_batches(opened.batches(), opened.schema)
    assert found.to_pylist() == [{"k": f"{i:03}", "x": float(i)} for i in range(3)]
    assert found.schema.types == [pa.string(), pa.float32()]
    made = ingest_of_text(table)
    assert made is not None and made.delimiter == ";" and set(made.parts) == {"train", "eval"}


def test_data_are_chosen_by_their_directories_and_read_by_a_schema(tmp_path):
    """What steps open: of JSON lines, filtered by day, with the columns of the schema."""
    for day in (1, 2, 3):
        (tmp_path / f"logs/day={day}").mkdir(parents=True)
        (tmp_path / f"logs/day={day}/a.jsonl").write_text(
            "".join(json.dumps({"x": day, "y": n}) + "\n" for n in range(day))
        )
    (tmp_path / "schema.pbtxt").write_text(
        'feature { name: "x" type: INT presence { min_fraction: 1 min_count: 1 } shape { } }\n'
    )
    (tmp_path / "pipeline.toml").write_text(
        HEAD
        + '[data]\ntrain = { path = "logs", filters = ["day<3"] }\neval = { path = "logs" }\nfilters = ["day in 3"]\n'
        'feature_spec = "schema.pbtxt"\n[analyze]\n'
    )
    from cluster.pipeline.step import StepContext

    context = StepContext(pipeline=load_pipeline(tmp_path / "pipeline.toml"), out=tmp_path, before={})
    for split, expected in (("train", [1, 2, 2]), ("eval", [3, 3, 3])):
        found = pa.Table.from_batches(context.raw(split).read_batches())
        assert sorted(found["x"].to_pylist()) == expected
        assert "y" not in found.column_names


def test_ingest_filters_and_a_schema(tmp_path):
    (tmp_path / "module.py").write_text("")
    for year in (2023, 2024):
        (tmp_path / f"raw/year={year}").mkdir(parents=True)
        (tmp_path / f"raw/year={year}/a.csv").write_text("x,y\n" + f"{year},1\n" * 50)
    (tmp_path / "schema.pbtxt").write_text(
        'feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { } }\n'
        'feature { name: "y" type: INT presence { min_fraction: 1 min_count: 1 } shape { } }\n'
    )
    text = '[ingest]\nsources = { raw = "raw/**/*.csv" }\nfilters = ["year>=2024"]\nfeature_spec = "schema.pbtxt"\n'
    assert run(tmp_path, text) == 0
    dataset = Dataset.open(tmp_path / "work/ingest/latest/parquet/train")
    table = pa.Table.from_batches(dataset.read_batches())
    assert set(table["x"].to_pylist()) == {2024.0} and table.schema.field("x").type == pa.float32()


@pytest.mark.parametrize(
    ("formats", "compression", "written"),
    [
        ('"tfrecord"', "gzip", ".tfrecord.gz"),
        ('"tfrecord", "parquet"', "zlib", ".tfrecord.deflate"),
        ('"parquet"', "zstd", ".parquet"),
    ],
)
def test_compression_is_that_of_every_format_that_takes_it(tmp_path, formats, compression, written):
    (tmp_path / "module.py").write_text("")
    (tmp_path / "a.csv").write_text("x\n" + "1\n" * 40)
    text = (
        f'[ingest]\nsources = {{ a = "a.csv" }}\nformats = [{formats}]\ncompression = "{compression}"\nnum_shards = 1\n'
    )
    assert run(tmp_path, text) == 0
    assert list((tmp_path / "work/ingest/latest").glob(f"*/train/*{written}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[ingest]\nsources = { a = { path = "a.csv", delimeter = ";" } }', "ingest.sources.a.delimeter: unknown key; did you mean"),
        ('[ingest]\nsources = { a = { path = "a.csv", quote = ";;" } }', "ingest.sources.a: quote is ';;'"),
        ('[ingest]\nsources = { a = { delimiter = ";" } }', "ingest.sources.a.path: missing"),
        ("[ingest]\nsources = { a = 3 }", "ingest.sources.a: got 3; expected a text or a table"),
        ('[ingest]\nformats = ["tfrecord"]\ncompression = "zstd"\nsources = { a = "a.csv" }', "none of the formats tfrecord takes it"),
        ('[ingest.parts]\ntrain = "a.csv"\neval = { path = "b.csv", delimiter = ";" }', "have different options"),
        ('[ingest]\nfilters = ["year"]\nsources = { a = "a.csv" }', "filter 'year': expected KEY"),
        ('[data]\ntrain = "a.csv"\neval = "b.parquet"', "data: train is CSV and eval is not"),
        ('[data]\ntrain = "b.parquet"\neval = "b.parquet"\ndelimiter = ";"', "data.delimiter: is for CSV"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path, text, message, capsys):
    (tmp_path / "module.py").write_text("")
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.parquet").write_bytes(b"")
    assert run(tmp_path, text) == 2
    assert message in capsys.readouterr().err


def test_built_in_python(tmp_path):
    (tmp_path / "module.py").write_text("")
    (tmp_path / "a.csv").write_text("x;y\n1;2\n")
    from cluster.pipeline import Pipeline

    data = DataConfig(train=SourceConfig(path=str(tmp_path / "a.csv"), delimiter=";"), eval=str(tmp_path / "a.csv"))
    pipeline = Pipeline(
        name="p", module=str(tmp_path / "module.py"), label="x", work_dir=str(tmp_path / "w"), data=data
    )
    with pytest.raises(ConfigError, match="have different options"):
        run_pipeline(pipeline, say=lambda line: None)
    pipeline = dataclasses.replace(pipeline, data=dataclasses.replace(data, eval=data.train))
    with pytest.raises(PipelineError, match="is given for the parts 'train' and 'eval'; a record has one part"):
        run_pipeline(pipeline, say=lambda line: None)


def test_every_option_of_the_command_is_one_of_the_table():
    """By name: what `fullpass ingest` takes, [ingest] takes, and the reverse but for what only a pipeline has."""
    parser, _ = build_parser("ingest")
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    command = {action.dest for action in commands.choices["ingest"]._actions}
    table = {field.name for field in dataclasses.fields(IngestConfig)}
    names = {"type": "types", "filter": "filters", "part": "parts", "paths": "sources", "format": "formats"}
    command = {names.get(name, name) for name in command}
    assert command - table == {"help", "out", "json", "debug", "quiet", "verbose"} & command
    assert table - command == {"hook", "require"}
    source = {field.name for field in dataclasses.fields(SourceConfig)} - {"path"}
    options = {field.name for field in dataclasses.fields(DataConfig)} - {"train", "eval"}
    assert options == source | {"types"} and options < table
