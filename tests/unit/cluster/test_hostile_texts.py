"""Settings, cards, histories and manifests that somebody else wrote: refused by what they are, never an internal error."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine import Dataset, FullpassError, Manifest
from engine.core.configs import parse_assignment
from engine.core.json_text import parse_json
from engine.core.toml import TOMLDecodeError, loads
from trainers.checkpoints.checkpoint import BEST_FILE, load_checkpoint
from trainers.evaluation.result import EvaluationResult
from trainers.export.card import CARD_JSON, read_card
from trainers.export.feature_names import read_feature_names
from trainers.serving.push import history
from trainers.supervision.tf_config import task_from_json
from transforms.output.provenance import read_provenance

DEEP = "[" * 100_000
TEXTS = {
    "deep": DEEP,
    "deep object": '{"a":' * 100_000,
    "digits": "9" * 5000,
    "list": "[]",
    "null": "null",
    "empty": "",
    "no text": b"\xff{}",
}
FILES = {
    "manifest": ("_manifest.json", lambda folder: Manifest.load(str(folder / "_manifest.json"))),
    "card": (CARD_JSON, read_card),
    "names": ("assets.extra/feature_names.json", read_feature_names),
    "checkpoint": ("state.json", load_checkpoint),
    "search": (BEST_FILE, load_checkpoint),
    "evaluation": ("evaluation.json", lambda folder: EvaluationResult.load(folder / "evaluation.json")),
    "pushes": (".history.json", history),
    "provenance": ("fullpass_provenance.json", read_provenance),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", FILES)
def test_file_that_is_no_record_is_refused_by_name(name, text, tmp_path):
    file, read = FILES[name]
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FullpassError, match=Path(file).name):
        read(tmp_path)


@pytest.mark.parametrize("directory", ["../elsewhere", "/etc", ".", "trials/../../elsewhere", 7])
def test_best_trial_of_a_search_lies_below_it(directory, tmp_path):
    (tmp_path / BEST_FILE).write_text(
        f'{{"directory": {directory if isinstance(directory, int) else repr(directory)}}}'.replace("'", '"')
    )
    with pytest.raises(FullpassError, match="trial"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("job.json", DEEP, "nested too deeply"),
        ("job.json", '{"timeout_s": ' + "9" * 5000 + "}", "digits"),
        ("job.json", '{"name": "a", "name": "b"}', "'name' is given twice"),
        ("job.yaml", DEEP, "nested too deeply"),
        ("job.yaml", "name: a\nstep: train\nname: b\n", "'name' is given twice, the second time in line 3"),
        ("job.yaml", "name: !!int ''\n", "not of its tag"),
        ("job.yaml", "labels: {day: 2024-13-99}\n", "month"),
    ],
)
@pytest.mark.parametrize("flag", ["--spec", "--pod-patch"])
def test_description_of_a_job_is_refused_with_its_file(flag, name, text, says, tmp_path, capsys):
    (tmp_path / name).write_text(text)
    words = [
        "submit",
        "--launcher",
        "kubernetes",
        "--name",
        "a",
        "--step",
        "train",
        flag,
        str(tmp_path / name),
        "--dry-run",
    ]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert says in said and name in said and "internal error" not in said


def test_merge_keys_of_yaml_may_come_twice(tmp_path, capsys):
    (tmp_path / "job.yaml").write_text("x: &x {a: b}\ny: &y {c: d}\nlabels: {<<: *x, <<: *y, e: f}\n")
    assert (
        main(["submit", "--name", "a", "--command", "--spec", str(tmp_path / "job.yaml"), "--dry-run", "--", "true"])
        == 2
    )
    assert "x: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["a = " + DEEP, "a = " + "9" * 5000, "a = 2024-13-99"])
def test_toml_beyond_its_reader_is_no_toml(text, tmp_path, capsys):
    with pytest.raises(TOMLDecodeError):
        loads(text)
    (tmp_path / "pipeline.toml").write_text(text)
    assert main(["run", str(tmp_path / "pipeline.toml")]) == 2
    assert "pipeline.toml: not TOML" in capsys.readouterr().err


def test_words_and_variables_are_held_to_the_same():
    for value, says in (
        (DEEP, "nested too deeply"),
        ('{"x": 1, "x": 2}', "'x' is given twice"),
        ("[" + "9" * 5000 + "]", "digits"),
    ):
        with pytest.raises(FullpassError, match=says):
            parse_assignment(f"train.a={value}")
    with pytest.raises(FullpassError, match="TF_CONFIG"):
        task_from_json(DEEP)
    with pytest.raises(ValueError, match="'a' is given twice"):
        parse_json('{"b": {"a": 1, "a": 2}}', unique=True)
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize("note", ["", "no JSON", DEEP, "9" * 5000, "[]", "{}", "7", '{"key": 7}'])
def test_notes_of_a_foreign_file_are_refused_with_their_column(note, tmp_path):
    field = pa.field("c", pa.list_(pa.int64()), metadata={b"fullpass.sequence": note.encode()})
    pq.write_table(pa.table([pa.array([[1], [2]])], schema=pa.schema([field])), tmp_path / "x.parquet")
    with pytest.raises(FullpassError, match="'c'"):
        Dataset.open(str(tmp_path / "x.parquet")).write(str(tmp_path / "out"), format="tfrecord", num_shards=1)
    assert not (tmp_path / "out").exists()
