"""What a pass shows of its progress: rows, bytes by their share, and what follows the reading."""

from __future__ import annotations

import pytest

from transforms.passes import progress as progress_module
from transforms.passes.progress import PassProgress


def test_lines_tell_rows_bytes_and_what_follows(capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.setenv("FULLPASS_PROGRESS", "1")
    with PassProgress("analyze, pass 1", 1000, 2_000_000, "merging") as progress:
        progress.line_every_s = 0.0
        progress.advance(250)
        progress.advance(750)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("analyze, pass 1: 250 of 1,000 rows (25 %)")
    assert first.endswith("0.5/2.0 MB")
    assert second.endswith("merging")


def test_a_rate_counts_from_where_the_clock_was_started_again(capsys: pytest.CaptureFixture, monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setenv("FULLPASS_PROGRESS", "1")
    monkeypatch.setattr("engine.core.progress.time.monotonic", lambda: clock[0])
    with PassProgress("analyze, pass 1", 1000, 2_000_000) as progress:
        progress.advance(200)
        clock[0] = 100.0  # worker processes start
        progress.restart_clock()
        clock[0] = 110.0
        progress.advance(400)
    assert "600 of 1,000 rows (60 %), 40 rows/s, 10 s left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "done", "text"), [(999, 1.0, "999/999 B"), (1000, 0.5, "0.5/1.0 kB"), (3.2e12, 0.25, "0.8/3.2 TB")]
)
def test_sizes(count: float, done: float, text: str) -> None:
    assert progress_module.share_text(count, done) == text
