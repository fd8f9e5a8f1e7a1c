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


@pytest.mark.parametrize(
    ("count", "done", "text"), [(999, 1.0, "999/999 B"), (1000, 0.5, "0.5/1.0 kB"), (3.2e12, 0.25, "0.8/3.2 TB")]
)
def test_sizes(count: float, done: float, text: str) -> None:
    assert progress_module.share_text(count, done) == text
