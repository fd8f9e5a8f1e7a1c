"""Which faults a soak makes, what it leaves in its directory, and what must be true of it at the end."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from trainers.loop.audit import read_audit

__all__ = ["BATCH", "RECORDS", "Deck", "check_records", "steps_made"]

BATCH, RECORDS = 32, 640


class Deck:
    """Kinds of faults in the order of a die, none again before all have come: a short soak makes as many kinds as it can.

    Args:
        kinds: their names.
        dice: says the order.
    """

    def __init__(self, kinds: Iterable[str], dice: random.Random) -> None:
        self._kinds, self._dice = sorted(kinds), dice
        self._left: list[str] = []

    def draw(self) -> str:
        """Returns the next one."""
        self._left = self._left or self._dice.sample(self._kinds, len(self._kinds))
        return self._left.pop()


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
