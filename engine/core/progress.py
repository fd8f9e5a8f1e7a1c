"""Progress of long work: a bar on a terminal, a line now and then in a log, nothing when asked for silence."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from engine.core import environment, run_log

__all__ = ["Progress"]


class Progress:
    """Shows how far a piece of work has come: done of total, rate, time left.

    On a terminal it draws a rich progress bar; elsewhere it prints a line to stderr at most every 10 seconds.
    `FULLPASS_PROGRESS=0` silences it. Use it as a context manager.

    Args:
        label: what is being done, e.g. "analyze".
        total: units in all, or None where unknown.
        unit: name of the unit, e.g. "rows".

    Attributes:
        line_every_s: seconds between two lines; lines stay in a log, where a bar would not.
    """

    line_every_s: float = 10.0

    def __init__(self, label: str, total: int | None, unit: str = "rows") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._done_before = 0
        self._made = self._start = self._last_line = time.monotonic()
        self._silent = not environment.PROGRESS.read()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if not self._silent and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description:<12}"),
                BarColumn(),
                TextColumn(
                    "{task.completed:,.0f}/{task.total:,.0f} " + self.unit
                    if self.total
                    else "{task.completed:,.0f} " + self.unit
                ),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, note="")
        return self

    def restart_clock(self) -> None:
        """Has rates and the time left count from now: what came before, such as the start of processes, says nothing of them."""
        self._start = self._last_line = time.monotonic()
        self._done_before = self.done

    def advance(self, count: int, note: str = "") -> None:
        """Adds `count` units; `note` is a short text shown beside the bar, e.g. "loss 0.31"."""
        self.update(self.done + count, note)

    def update(self, done: int, note: str = "") -> None:
        """Sets the units done so far."""
        self.done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
        now = time.monotonic()
        if now - self._last_line >= self.line_every_s:
            self._last_line = now
            line = self._line(note)
            run_log.record(line)
            if not self._silent and self._bar is None:
                run_log.print_line(line, sys.stderr)

    def rate(self, done: int) -> float:
        """Returns the units a second since the clock was started.

        Args:
            done: units done by now.
        """
        return (done - self._done_before) / max(time.monotonic() - self._start, 1e-3)

    def _line(self, note: str) -> str:
        rate = self.rate(self.done)
        text = f"{self.label}: {self.done:,}"
        if self.total:
            left = (self.total - self.done) / rate if rate else float("inf")
            text += f" of {self.total:,} {self.unit} ({100 * self.done / self.total:.0f} %), {rate:,.0f} {self.unit}/s, {left:,.0f} s left"
        else:
            text += f" {self.unit}, {rate:,.0f} {self.unit}/s"
        return f"{text}  {note}".rstrip()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        took = time.monotonic() - self._made
        run_log.record(f"{self.label}: {'ended at' if kind else 'done,'} {self.done:,} {self.unit} in {took:.1f} s")
