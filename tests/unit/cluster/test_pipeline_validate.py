"""Statistics and validation as steps: what does not fit is refused before anything is trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from cluster.pipeline import load_pipeline
from cluster.pipeline.records import finished_steps
from cluster.pipeline.step import StepContext
from cluster.pipeline.steps.validate import blessed_statistics, keep_blessed
from transforms.validation.files import load_statistics

PIPELINE = """
[pipeline]
name = "small"
module = "small.py"
label = "late"
[data]
train = "train.parquet"
eval = "eval.parquet"
[stats]
slices = [["carrier"]]
[validate]
"""


def write(folder: Path, name: str, carriers: str, delays: list[float], **more: Any) -> None:
    columns = {"carrier": list(carriers), "delay": delays, "late": [0, 1] * (len(carriers) // 2), **more}
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.py").write_text("")
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    write(tmp_path, "train", "AABB", [1.0, 2.0, 3.0, 4.0])
    write(tmp_path, "eval", "AB", [1.5, 3.5])
    return tmp_path


def run(folder: Path, *words: str) -> int:
    return main(["run", str(folder / "pipeline.toml"), "-q", *(w for word in words for w in ("--set", word))])


def bless(folder: Path) -> None:
    """Does what the step evaluate does for a model that meets its thresholds."""
    pipeline = load_pipeline(folder / "pipeline.toml")
    before = {"stats": finished_steps(Path(pipeline.work_dir) / "stats")[0]}
    keep_blessed(StepContext(pipeline=pipeline, out=folder, before=before))


def test_steps_leave_the_files_that_the_documents_name(folder, capsys):
    assert run(folder) == 0
    work = folder / "runs" / "small"
    for split, records in (("train", 4), ("eval", 2)):
        found = load_statistics(str(work / "stats" / "latest" / f"Split-{split}"))
        assert found.datasets[0].num_examples == records
        assert [each.name for each in found.datasets] == ["All Examples", "carrier_A", "carrier_B"]
        assert (work / "validate" / "latest" / f"Split-{split}" / "SchemaDiff.pb").exists()
    capsys.readouterr()
    assert run(folder) == 0
    assert capsys.readouterr().out.count("skipped") == 2


def test_anomalies_refuse_to_train(folder, capsys):
    assert run(folder) == 0
    (folder / "schema.pbtxt").write_text((folder / "runs/small/stats/latest/Split-train/schema.pbtxt").read_text())
    assert run(folder, "validate.schema=schema.pbtxt") == 0
    write(folder, "eval", "AC", [1.5, 3.5], new=["x", "y"])
    capsys.readouterr()
    assert run(folder, "validate.schema=schema.pbtxt") == 3
    error = capsys.readouterr().err
    assert "validate: 2 anomalies: eval: carrier: Values that the domain does not have: 'C' (50.0000%)" in error
    assert "eval: new: The schema has no such column." in error
    texts = [path.read_text() for path in (folder / "runs/small/validate").glob("*-*/Split-eval/anomalies.txt")]
    assert any(text.startswith("2 anomalies in 2 records") for text in texts)


def test_drift_from_the_last_blessed_run(folder, capsys):
    drift = "validate.drift.carrier=0.3"
    assert run(folder, drift) == 0
    assert "no run is blessed yet: drift is not judged" in capsys.readouterr().out
    bless(folder)
    kept = load_statistics(str(blessed_statistics(folder / "runs/small")))
    assert kept.datasets[0].num_examples == 4
    write(folder, "train", "AAAB", [1.0, 2.0, 3.0, 4.0])  # A: a half, then three fourths
    assert run(folder, drift) == 0
    assert "carrier: drift, l infty 0.25 (allowed 0.3)" in capsys.readouterr().out
    assert run(folder, "validate.drift.carrier=0.2") == 3
    assert "train: carrier: l infty from the last blessed run is 0.25, above 0.2" in capsys.readouterr().err
    assert run(folder, "validate.split_drift.carrier=0.2") == 3
    assert "eval: carrier: l infty from train is 0.25, above 0.2" in capsys.readouterr().err


def test_skew_from_recorded_requests(folder, capsys):
    (folder / "recorded").mkdir()
    served = {"served.model": ["m"] * 4, "served.output": [0.5] * 4}
    write(folder / "recorded", "requests", "AAAA", [1.0, 2.0, 3.0, 4.0], **served)
    schema = 'default_environment: "TRAINING" default_environment: "SERVING" feature { name: "carrier" type: BYTES } '
    schema += 'feature { name: "delay" type: FLOAT } feature { name: "late" type: INT not_in_environment: "SERVING" }'
    (folder / "schema.pbtxt").write_text(schema)
    words = ["validate.schema=schema.pbtxt", "validate.environment=TRAINING", "validate.serving=recorded"]
    assert run(folder, *words, "validate.skew.carrier=0.6") == 0
    assert "carrier: skew, l infty 0.5 (allowed 0.6)" in capsys.readouterr().out
    found = json.loads((folder / "runs/small/validate/latest/Split-serving/SchemaDiff.json").read_text())
    assert "anomaly_info" not in found
    assert run(folder, *words, "validate.skew.carrier=0.4") == 3
    assert "train: carrier: l infty from the serving data is 0.5, above 0.4" in capsys.readouterr().err


def test_validate_needs_stats(folder):
    pipeline = load_pipeline(folder / "pipeline.toml")
    with pytest.raises(ValueError, match=r"\[validate\] needs the results of \[stats\]"):
        dataclasses.replace(pipeline, stats=None)
