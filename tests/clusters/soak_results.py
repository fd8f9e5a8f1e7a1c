"""What a soak leaves in its directory, and what must be true of it at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainers.loop.audit import read_audit

__all__ = ["BATCH", "RECORDS", "check_records", "steps_made"]

BATCH, RECORDS = 32, 640


def steps_made(out: Path) -> int:
    """Returns the last step that the first worker has begun a call with."""
    names = (path.stem.split("-") for path in (out / "audit" / "host-0000").glob("*.npy"))
    return max((int(step) for _, step in names), default=0)


def check_records(out: Path, epochs: int) -> None:
    """Checks that every step was made, and that each epoch used every record once."""
    used, per_epoch = read_audit(str(out)), RECORDS // BATCH
    assert sorted(used) == list(range(epochs * per_epoch)), "every step is there, none more"
    for epoch in range(epochs):
        ids = np.concatenate([used[step] for step in range(epoch * per_epoch, (epoch + 1) * per_epoch)])
        assert sorted(ids.tolist()) == list(range(RECORDS)), f"epoch {epoch}: every record once"
