"""Wrong input ends with exit code 2 and one line that names what and where; earlier results stay as they were."""

import shutil

import pytest

from cluster.cli.main import main
from tests.support.flights_sample import write_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A pipeline of ingest, analyze and transform on a few hundred flights, finished once."""
    folder = tmp_path_factory.mktemp("flights")
    pipeline = write_sample(folder, every=700)
    text = pipeline.read_text()
    text = text[: text.index("[train]")]
    pipeline.write_text(text)
    assert main(["-q", "run", str(pipeline)]) == 0
    return folder


@pytest.fixture
def folder(sample, tmp_path):
    shutil.copytree(sample, tmp_path / "mine", symlinks=True)
    return tmp_path / "mine"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def whole(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in (folder / "work").rglob("*")
        if p.is_file() and p.name != ".lock"
    }


def fails(folder, capsys, *words):
    """Runs the pipeline, which must fail in one line and leave every earlier file as it was; returns the line."""
    before = whole(folder)
    capsys.readouterr()
    assert main(["run", str(folder / "pipeline.toml"), *words]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fullpass: ")]
    assert len(errors) == 1
    assert errors[0].startswith("fullpass: error: ")
    after = whole(folder)
    assert {name: after.get(name) for name in before} == before
    return errors[0]


def test_missing_file(folder, capsys):
    (folder / "weather.csv").unlink()
    line = fails(folder, capsys)
    assert "weather.csv" in line and "no" in line


def test_empty_file(folder, capsys):
    (folder / "flights.csv").write_text("")
    line = fails(folder, capsys)
    assert "ingest: " in line and "flights.csv" in line and "empty" in line


def test_wrong_column_name_in_the_file(folder, capsys):
    edit(folder / "flights.csv", "arr_delay", "arrival_delay")
    line = fails(folder, capsys)
    assert "column 'arr_delay' not found" in line and "arrival_delay" in line


def test_wrong_column_name_in_the_module(folder, capsys):
    edit(folder / "flights.py", 'inputs["origin"]', 'inputs["orgin"]')
    line = fails(folder, capsys)
    assert "analyze: " in line and "flights.py:" in line and "orgin" in line


def test_wrong_split_key(folder, capsys):
    line = fails(folder, capsys, "--set", 'ingest.split_by=["flight_no"]')
    assert "flight_no" in line


def test_label_of_the_wrong_type(folder, capsys):
    edit(folder / "flights.py", 'outputs["late"] = inputs["late"]', 'outputs["late"] = inputs["carrier"]')
    line = fails(folder, capsys)
    assert "transform: " in line and "'late' is " in line and "number" in line


def test_label_that_is_not_there(folder, capsys):
    line = fails(folder, capsys, "--set", "pipeline.label=tardy")
    assert "transformed feature 'tardy' not found" in line and "late" in line


def test_preprocessing_fn_that_raises(folder, capsys):
    edit(folder / "flights.py", "    depart, delay =", '    raise RuntimeError("out of ideas")\n    depart, delay =')
    line = fails(folder, capsys)
    assert "flights.py:" in line and "preprocessing_fn raised RuntimeError: out of ideas" in line


def test_hook_that_loses_rows(folder, capsys):
    text = (folder / "flights.py").read_text()
    i = text.index("    return pa.RecordBatch.from_pydict(")
    line_end = text.index("\n", i)
    (folder / "flights.py").write_text(text[:line_end] + ".slice(1)" + text[line_end:])
    assert "join returned" in fails(folder, capsys)


def test_module_that_is_not_python(folder, capsys):
    edit(folder / "flights.py", "def join(", "def join((")
    assert "flights.py:" in fails(folder, capsys)


def test_typo_in_the_toml(folder, capsys):
    edit(folder / "pipeline.toml", "split_by", "split_bye")
    line = fails(folder, capsys)
    assert "ingest.split_bye: unknown key; did you mean 'split_by'?" in line


@pytest.fixture
def sharded(folder):
    """The same pipeline beginning with the shards that were written."""

    def use(format):
        shutil.copytree((folder / "work/ingest/latest" / format).resolve(), folder / "shards")
        text = (folder / "pipeline.toml").read_text()
        cut, end = text.index("[ingest]"), text.index("[analyze]")
        data = '[data]\ntrain = "shards/train"\neval = "shards/eval"\n\n'
        (folder / "pipeline.toml").write_text(text[:cut] + data + text[end:])
        return sorted((folder / "shards/train").glob("data-*"))[0]

    return use


def test_truncated_parquet(folder, sharded, capsys):
    shard = sharded("parquet")
    shard.write_bytes(shard.read_bytes()[:-100])
    assert shard.name in fails(folder, capsys)


def test_flipped_bit_in_tfrecord(folder, sharded, capsys):
    shard = sharded("tfrecord")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    line = fails(folder, capsys)
    assert shard.name in line and "byte " in line


def test_data_that_is_not_there(folder, sharded, capsys):
    sharded("parquet")
    shutil.rmtree(folder / "shards/eval")
    line = fails(folder, capsys)
    assert "shards/eval" in line


def spoil(folder, column, record, value):
    """Replaces a value of flights.csv."""
    lines = (folder / "flights.csv").read_text().splitlines()
    cells = lines[record + 1].split(",")
    cells[lines[0].split(",").index(column)] = value
    lines[record + 1] = ",".join(cells)
    (folder / "flights.csv").write_text("\n".join(lines) + "\n")


def test_word_in_a_column_of_numbers_is_named_where_tensorflow_fails_on_it(folder, capsys):
    spoil(folder, "distance", 41, "far")
    line = fails(folder, capsys)
    assert line.startswith("fullpass: error: analyze: flights.py:") and "Cast string to float is not supported" in line
    assert "column 'distance' is text: 1 of " in line and "the first 'far' in " in line and "record 41" in line
    number = int(line.split("flights.py:")[1].split(":")[0])
    assert 'inputs["distance"]' in (folder / "flights.py").read_text().splitlines()[number - 1]


def test_word_in_a_column_whose_type_is_declared(folder, capsys):
    spoil(folder, "distance", 41, "far")
    for types in ('{ distance = "float32" }', '{ flights = { distance = "int64" } }'):
        line = fails(folder, capsys, "--set", f"ingest.types={types}")
        assert "ingest: " in line and "flights.csv, record 41: column 'distance' holds 'far' here" in line


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ('{ distance = "int" }', "ingest.types.distance: got 'int'; expected one of 'int64', 'float32', 'string'"),
        ('{ distanse = "int64" }', "types.distanse: no CSV source has this column (flights has "),
        ('{ planes = { distance = "int64" } }', "types.planes.distance: no CSV source has this column"),
    ],
)
def test_types_that_cannot_be(folder, capsys, types, message):
    assert message in fails(folder, capsys, "--set", f"ingest.types={types}")


def test_operation_that_fails_in_transform_alone(folder, capsys):
    """No analyzer needs it, so the passes of analyze never run it."""
    text = 'outputs["late"] = inputs["late"]'
    edit(folder / "flights.py", text, f'{text}\n    outputs["n"] = tf.strings.to_number(inputs["carrier"])')
    line = fails(folder, capsys)
    assert line.startswith("fullpass: error: transform: flights.py:") and "StringToNumber" in line
    number = int(line.split("flights.py:")[1].split(":")[0])
    assert "to_number" in (folder / "flights.py").read_text().splitlines()[number - 1]


def test_preprocessing_fn_that_returns_nothing(folder, capsys):
    edit(folder / "flights.py", "    return outputs", "    return None")
    line = fails(folder, capsys)
    assert "analyze: " in line and "preprocessing_fn must return a dict" in line
