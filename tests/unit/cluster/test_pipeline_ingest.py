"""The pipeline's [ingest] is `engine.ingest`: the same options give the same shards, with a hook and without one."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine import Dataset, ingest
from engine.formats.csv.options import CsvOptions

MODULE = """
def join(batch, tables):
    import pyarrow.compute as pc
    names = tables["names"]
    found = names["name"].take(pc.index_in(batch["k"], names["k"].combine_chunks())).combine_chunks()
    return batch.select(["x", "t"]).append_column("name", found)
"""


@pytest.fixture
def folder(tmp_path):
    rows = [
        f"{i % 50};{'' if i % 9 == 0 else i / 2};{'na' if i % 5 else 'NA'};2020-01-{1 + i % 28:02d}" for i in range(400)
    ]
    (tmp_path / "raw.txt").write_text("\n".join(["# made by a tool", "", "k;x;t;day", *rows]) + "\n")
    (tmp_path / "names.txt").write_text("# also\nk;name\n" + "".join(f"{i};n{i}\n" for i in range(50)))
    (tmp_path / "module.py").write_text(MODULE)
    return tmp_path


CSV = 'input_format = "csv"\ndelimiter = "semicolon"\nskip_rows = 1\nnull_values = ["na"]\n'
OPTIONS = CsvOptions(delimiter=";", skip_rows=1, null_values=("na",))
WAYS = {
    "default": ("", {"fractions": {"train": 0.8, "eval": 0.2}}),
    "random": (
        "fractions = { train = 0.5, eval = 0.25, test = 0.25 }\nseed = 3",
        {"fractions": {"train": 0.5, "eval": 0.25, "test": 0.25}, "seed": 3},
    ),
    "keys": ('split_by = ["k", "day"]', {"split_by": ["k", "day"]}),
    "stratified": ('stratify_by = "t"', {"stratify_by": "t"}),
    "time": (
        "split_time = 'day'\neval_from = 2020-01-20\ntest_from = '2020-01-25'",
        {"split_time": "day", "eval_from": "2020-01-20", "test_from": "2020-01-25"},
    ),
}


def run(folder, text, sources='raw = "raw.txt"'):
    head = '[pipeline]\nname = "p"\nmodule = "module.py"\nlabel = "t"\nwork_dir = "work"\n[ingest]\nnum_shards = 3\n'
    (folder / "pipeline.toml").write_text(f"{head}{text}\n" + (f"[ingest.sources]\n{sources}\n" if sources else ""))
    return main(["-q", "run", str(folder / "pipeline.toml")])


def rows(directory):
    dataset = Dataset.open(directory)
    return pa.Table.from_batches(dataset.read_batches(), dataset.schema), [e.records for e in dataset.manifest.files]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hook", [False, True])
def test_the_step_writes_what_the_engine_writes(folder, way, hook, capsys):
    text, options = WAYS[way]
    expected = ingest(
        folder / "raw.txt", folder / "direct", num_shards=3, input_format="csv", csv_options=OPTIONS, **options
    )
    joining = 'hook = "join"\nrequire = ["k"]\n' if hook else ""
    sources = 'raw = "raw.txt"\nnames = "names.txt"' if hook else 'raw = "raw.txt"'
    assert run(folder, CSV + joining + text, sources) == 0
    shown = capsys.readouterr().out
    for name in expected.parts:
        ours, counts = rows(folder / "work" / "ingest" / "latest" / "parquet" / name)
        theirs, their_counts = rows(folder / "direct" / name)
        assert counts == their_counts
        assert ours.select(["x", "t"]).to_pydict() == theirs.select(["x", "t"]).to_pydict()
        assert ours.column_names == (["x", "t", "name"] if hook else theirs.column_names)
        if hook:
            assert ours["name"].to_pylist() == [f"n{k}" for k in theirs["k"].to_pylist()]
        assert f"{name}: {len(ours):,} records" in shown
    assert "NA " in shown  # the shares of the label


SPEC = 'feature { name: "k" type: INT presence { min_fraction: 1.0 } shape {} }\n'
TABLE = {  # what [ingest] says, and the options of those names
    "dialect": (
        """
        input_format = "csv"\ndelimiter = ";"\nencoding = "utf-16"\nheader = false\ncolumn_names = ["k", "t"]\nskip_rows = 1
        quote = "single"\nescape = "backslash"\nnull_values = ["na"]\ntypes = { k = "string" }\nlabel = "k"\nseed = 5
        compression = "zstd"\nsplit_by = ["t"]
        """,
        "--input-format csv --delimiter ; --encoding utf-16 --no-header --column-names k,t --skip-rows 1 --quote single --escape "
        "backslash --null-values na --type k=string --label k --seed 5 --compression zstd --split-by t",
        "raw.dat",
    ),
    "directories": (
        'filters = ["year>=2024"]\nfeature_spec = "spec.pbtxt"\nformats = ["tfrecord"]\ncompression = "zlib"\nstratify_by = "k"\n'
        "fractions = { train = 0.7, eval = 0.3 }",
        "--filter year>=2024 --feature-spec spec.pbtxt --format tfrecord --compression zlib --stratify-by k --fractions "
        "train=0.7,eval=0.3",
        "hive",
    ),
}


@pytest.mark.parametrize("what", TABLE)
def test_each_key_is_the_option_of_its_name(folder, monkeypatch, what):
    monkeypatch.chdir(folder)
    text, options, source = TABLE[what]
    lines = [f"{i % 7};'a\\';{i}'" if i % 3 else f"{i % 7};na" for i in range(90)]
    (folder / "raw.dat").write_bytes("\n".join(["# of a tool", *lines]).encode("utf-16"))
    (folder / "spec.pbtxt").write_text(SPEC)
    for year in (2023, 2024, 2025):
        (folder / f"hive/year={year}").mkdir(parents=True)
        pq.write_table(pa.table({"k": [i % 5 for i in range(60)]}), folder / f"hive/year={year}/a.parquet")
    assert run(folder, text, f'raw = "{source}"') == 0
    assert main(["-q", "ingest", source, "--out", "out", "--num-shards", "3", *options.split()]) == 0
    (written,) = [each for each in (folder / "work/ingest/latest").iterdir() if each.is_dir()]

    def shards(directory):
        return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("data-*")}

    assert shards(written) == shards(folder / "out") and len(shards(written)) == 6


def test_files_that_are_split_already(folder):
    (folder / "a.txt").write_text("#\nk;x\n1;\n")
    (folder / "b.txt").write_text("#\nx;k\n2.5;2\n3.5;3\n")
    assert run(folder, CSV + 'parts = { train = "a.txt", eval = "b.txt" }', "") == 0
    latest = folder / "work" / "ingest" / "latest" / "parquet"
    train, evaluation = rows(latest / "train")[0], rows(latest / "eval")[0]
    assert train.schema == evaluation.schema
    assert (train.to_pydict(), evaluation.to_pydict()) == ({"k": [1], "x": [None]}, {"k": [2, 3], "x": [2.5, 3.5]})


def test_a_label_that_the_hook_makes_is_stratified_by(folder, capsys):
    assert run(folder, CSV + 'hook = "join"\nstratify_by = "name"', 'raw = "raw.txt"\nnames = "names.txt"') == 0
    table, _ = rows(folder / "work" / "ingest" / "latest" / "parquet" / "eval")
    counts = table["name"].value_counts().to_pylist()
    assert {entry["counts"] for entry in counts} <= {1, 2} and len(counts) == 50


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('fractions = { "../up" = 0.5, eval = 0.5 }', "ingest.'../up' names a part"),
        ("fractions = { train = nan, eval = 0.5 }", "fractions are"),
        ('split_time = "day"\neval_from = "2030-01-01"', "the part eval got no row of 400"),
        ('split_by = ["nope"]', "no column 'nope' to split by"),
        ('types = { nope = "int64" }', "no CSV source has this column"),
        ("delimiter = 'x;'", "delimiter is 'x;'"),
    ],
)
def test_what_cannot_be_is_one_line(folder, text, message, capsys):
    csv = "" if "delimiter" in text else CSV
    assert run(folder, csv + text) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "work" / "ingest" / "latest").exists()
