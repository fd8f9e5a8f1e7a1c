"""The step tells what the analysis took beside the graph, and answers for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.pipeline.steps.analyze import STEP
from cluster.steps import analyze
from cluster.steps.analyze import AnalyzeConfig
from transforms.analyze import AnalyzeReport
from transforms.statistics_job import LabelShares


@pytest.mark.parametrize("place", ["stats", "s3://bucket/stats"])
def test_statistics_and_shares_are_in_the_notes(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {"y": LabelShares(counts={"0": 3, "1": 1}, missing=0, values=4, exact=True)}
    report = AnalyzeReport(
        path="graph", records=4, phases=1, analyzers=2, seconds=0.0, stats=place, label_shares=shares
    )
    monkeypatch.setattr(analyze, "run", lambda *_, **__: report)
    pipeline = SimpleNamespace(analyze=AnalyzeConfig(stats=place, labels=("y",)), module="features.py")
    context: Any = SimpleNamespace(
        pipeline=pipeline, out=tmp_path, raw=lambda _: SimpleNamespace(num_records=4), text_columns=tuple
    )
    result = STEP.run(context)
    assert result.notes[1:] == (f"statistics: {place}", "y: 0 75.00% (3), 1 25.00% (1)")
    assert result.beside == ((place,) if place == "stats" else ())
