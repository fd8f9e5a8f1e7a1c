"""A model, its evaluation and its predictions, which the Flink and Spark tests hold to this machine's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine import Dataset
from tests.clusters.beam_passes import ROWS
from tests.support.scored_model import save_model
from trainers.evaluation.evaluate import evaluate
from trainers.serving.predict import predict

SHARDS = 5


class Scored:
    """A model and what is found of it on this machine.

    Args:
        rows: of `beam_passes`.
        folder: for the model and the predictions.
    """

    def __init__(self, rows: Dataset, folder: Path) -> None:
        self._rows, self.models = rows, save_model(folder)
        self.evaluation = self._evaluate("local", [])
        self.shards = {
            format: self._predict("local", [], folder / format, format) for format in ("parquet", "tfrecord")
        }

    def check_evaluation(self, runner: str, options: list[str]) -> None:
        """Fails where a runner's evaluation differs from this machine's in a bit."""
        found = self._evaluate(runner, options)
        assert found == self.evaluation and found["rows"] == ROWS and len(found["slices"]) == 13
        assert found["half_widths"]["auc"] > 0

    def check_predictions(self, runner: str, options: list[str], out: Path, format: str) -> None:
        """Fails where the shards of predictions that a runner writes differ from this machine's."""
        mine, theirs = self.shards[format], self._predict(runner, options, out, format)
        assert [path.name for path in theirs] == [path.name for path in mine] and len(mine) == SHARDS
        if format == "tfrecord":
            assert [path.read_bytes() for path in theirs] == [path.read_bytes() for path in mine]
            return
        table, expected = (pa.concat_tables([pq.read_table(path) for path in each]) for each in (theirs, mine))
        assert table.equals(expected) and table.num_rows == ROWS
        kept = pa.Table.from_batches(list(self._rows.read_batches(columns=["s0"])))
        assert table.column_names == ["s0", "both", "late"]
        assert table["s0"].to_pylist() == kept["s0"].to_pylist()  # in the order of the data

    def _evaluate(self, runner: str, options: list[str]) -> Any:
        return evaluate(
            self.models,
            self._rows,
            "was_late",
            slices=["s0"],
            max_segments=12,
            metrics=["auc", "pr_auc", "log_loss", "recall@0.3", "fairness"],
            output="late",
            runner=runner,
            runner_options=options,
        ).as_json()

    def _predict(self, runner: str, options: list[str], out: Path, format: str) -> list[Path]:
        settings = {"runner": runner, "runner_options": options, "format": format, "num_shards": SHARDS}
        report = predict(self.models, self._rows, out, keep=["s0"], **settings)
        assert report.rows == ROWS and report.manifest.num_records == ROWS
        return sorted(out.glob("data-*"))
