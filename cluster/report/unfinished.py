"""What of a run is not finished: the step that it is in or stopped in, since when, and why, as its log has it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from cluster.pipeline.records import RECORD
from engine.machine.lock import holder_of

__all__ = ["Unfinished", "unfinished_step"]

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z (\w+) \S+  (.*)")  # of `engine.core.run_log`
_KILLED = (
    "its log gives no reason, and no process is seen to work on it: it was killed, its machine went down, or its lock is not seen "
    "from here"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unfinished:
    """The step that a run is in, or in which it ended.

    Attributes:
        step: its name; "" between two steps.
        directory: what it has written so far; None between two steps.
        holder: id of the process that works on it; None where none does.
        since: when it began, UTC; "" where no log says so.
        error: what the log ends with; "" where it says nothing.
        logged: whether there is a log of it.
    """

    step: str
    directory: Path | None = None
    holder: str | None = None
    since: str = ""
    error: str = ""
    logged: bool = False

    @property
    def text(self) -> str:
        """One line for people."""
        if self.holder is not None:
            since = f", since {self.since}" if self.since else ""
            return f"Still running: {self.step or 'between two steps'} (process {self.holder}){since}"
        if self.error:
            return f"Stopped in {self.step}: {self.error.removeprefix(f'{self.step}: ')}"
        return f"Stopped in {self.step}; {_KILLED if self.logged else 'no log says why'}"

    @property
    def digest(self) -> str:
        """A text that differs for another state."""
        return f"{self.step}/{self.directory.name if self.directory else ''} {self.text}"


def unfinished_step(work_dir: Path) -> Unfinished | None:
    """Returns the step that the last run in a working directory did not finish; None where it finished all it began."""
    holder = holder_of(work_dir)
    links = [link for link in work_dir.glob("*/running") if link.is_symlink()]
    begun = [link for link in links if link.is_dir() and not (link / RECORD).is_file()]
    if holder is not None:
        # It makes the links of its steps anew, in their order, of those it skips, too: an older one is of a step that it has not
        # come to yet.
        last = max((_made(link) for link in work_dir.glob("*/latest") if link.is_symlink()), default=0)
        begun = [link for link in begun if _made(link) >= last]
    begun.sort(key=_made)
    if not begun:
        return None if holder is None else Unfinished(step="", holder=holder)
    directory = begun[-1].resolve()
    step = directory.parent.name
    lines = _log_of(work_dir, f"{step}/{directory.name}")
    since = next((moment.replace("T", " ") + " UTC" for moment, _, _ in lines), "")
    # As `cluster.cli.main` says how a command ended; libraries log errors that end nothing.
    ends = ("error: ", "internal error: ", "interrupted", f"{step}: ")
    error = next((text for _, level, text in reversed(lines) if level == "ERROR" and text.startswith(ends)), "")
    return Unfinished(
        step=step,
        directory=directory,
        holder=holder,
        since=since,
        error=error.removeprefix("error: "),
        logged=bool(lines),
    )


def _made(link: Path) -> int:
    try:
        return link.lstat().st_mtime_ns
    except OSError:  # a run replaces it at this moment
        return 0


def _log_of(work_dir: Path, place: str) -> list[tuple[str, str, str]]:
    """Returns (UTC, level, text) of each line from where the newest log says that the step began; none where no log does."""
    for path in sorted((work_dir / "logs").glob("run-*Z-*.log"), reverse=True):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        lines = [match.groups() for line in text.splitlines() if (match := _LINE.match(line))]
        for number, (_, _, said) in enumerate(lines):
            if said.startswith("writes into ") and said.endswith(place):
                return [(str(moment), str(level), str(text)) for moment, level, text in lines[number:]]
    return []
