"""Commands beside one another whose words come one after the other: `run` starts some groups of commands and prints what each says, whole.

SIGINT, SIGTERM and SIGHUP reach every command as one Ctrl-C does, so that pytest ends its servers; a second signal, or the end of the
grace, kills what is left with all that it started.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.machine.processes import kill_tree

__all__ = ["Group", "run"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S = 0.1
_NO_TESTS = 5  # pytest's exit code


@dataclass(frozen=True, kw_only=True)
class Group:
    """Commands that run one after the other, each whatever the one before it said; the exit code of the last one counts.

    Attributes:
        name: for what is printed.
        commands: their words.
        none_is_fine: pytest may find no test there, as where its options choose those of another group.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    none_is_fine: bool = False


def run(groups: Sequence[Group], *, beside: int, directory: Path, grace_s: float = 120.0) -> int:
    """Runs all groups, at most `beside` at once, in the order given.

    Args:
        groups: what to run.
        beside: how many at once.
        directory: in which the commands run.
        grace_s: seconds that they may take to end after a signal.

    Returns: 0, 1 where a group failed or none had a test, or 128 and the number of the signal that ended the run.
    """
    asked: list[int] = []
    # Having handlers also gives the children back their own: an ignored SIGINT, as in the background of a shell, would be inherited.
    before = {each: signal.signal(each, lambda number, _: asked.append(number)) for each in _SIGNALS}
    lanes: list[_Lane] = []
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as logs:
        try:
            lanes = [_Lane(group, directory, Path(logs) / str(at)) for at, group in enumerate(groups)]
            _follow(lanes, beside, grace_s, asked)
        finally:
            for lane in lanes:
                lane.kill()
            for each, handler in before.items():
                signal.signal(each, handler)
    for lane in lanes:
        print(f"{lane.group.name}: {lane.outcome()}", flush=True)
    failed = any(lane.failed for lane in lanes) or all(lane.code == _NO_TESTS for lane in lanes)
    return 128 + asked[0] if asked else int(failed)


def _follow(lanes: list[_Lane], beside: int, grace_s: float, asked: list[int]) -> None:
    shown, until = 0, float("inf")
    while shown < len(lanes):
        if asked and until == float("inf"):
            until = time.monotonic() + grace_s
            for lane in lanes:
                lane.interrupt()
        if len(asked) > 1 or time.monotonic() > until:
            for lane in lanes:
                lane.kill()
        room = beside - sum(lane.running for lane in lanes)
        for lane in lanes:
            if lane.code is None and (lane.running or room > 0):
                room -= not lane.running
                lane.go_on()
        # Asked before the log is read: an ended lane writes no more.
        while shown < len(lanes) and lanes[shown].code is not None:
            lanes[shown].show()
            shown += 1
        if shown < len(lanes):
            lanes[shown].show()
            time.sleep(_POLL_S)


class _Lane:
    """A group as it runs."""

    def __init__(self, group: Group, directory: Path, log: Path) -> None:
        self.group, self.code = group, None
        self._directory, self._log = directory, log
        self._log.touch()
        self._waiting = list(group.commands)
        self._process: subprocess.Popen[bytes] | None = None
        self._shown = -1
        self._began = self._seconds = 0.0

    code: int | None

    @property
    def running(self) -> bool:
        return self._process is not None and self.code is None

    @property
    def failed(self) -> bool:
        return self.code != 0 and not (self.group.none_is_fine and self.code == _NO_TESTS)

    def go_on(self) -> None:
        """Starts the next command where the one before it has ended."""
        if self._process is None:
            self._began = time.monotonic()
        elif self._process.poll() is None:
            return
        elif not self._waiting:
            self.code, self._seconds = self._process.returncode, time.monotonic() - self._began
            return
        with open(self._log, "ab") as log:
            # A session of its own: a terminal's Ctrl-C reaches this process alone, which passes it on once.
            self._process = subprocess.Popen(
                self._waiting.pop(0),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def interrupt(self) -> None:
        """Has the command end as Ctrl-C does, and starts none after it."""
        self._waiting.clear()
        if self._process is None:
            self.code = 1
        elif self.code is None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        if self._process is not None and self.code is None:
            kill_tree(self._process.pid)
            self._process.wait()
            self._waiting.clear()
            self.go_on()

    def show(self) -> None:
        """Prints what was written since the last time."""
        if self._process is None:
            return
        if self._shown < 0:
            print(f"==== {self.group.name} ====", flush=True)
            self._shown = 0
        with open(self._log, "rb") as log:
            log.seek(self._shown)
            text = log.read()
        self._shown += len(text)
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()

    def outcome(self) -> str:
        if self._process is None:
            return "not started"
        said = f"FAILED with exit code {self.code}" if self.failed else "no tests" if self.code else "passed"
        return f"{said} after {self._seconds / 60:.1f} minutes"
