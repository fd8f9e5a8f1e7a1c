"""Finished steps on disk.

A step writes into a directory of its own, `WORK_DIR/STEP/KEY-N`; the last thing written there, atomically, is the record
`fullpass-step.json`. A directory without a record is unfinished work and is never read by a later step. A step that runs
again gets a new directory, so that the earlier result stays whole until the new one is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.core.configs import decode
from engine.core.json_text import parse_json
from engine.storage.atomic import atomic_file

__all__ = [
    "RECORD",
    "Finished",
    "StepRecord",
    "begin_directory",
    "commit",
    "drop_unfinished",
    "finished_steps",
    "point_latest",
    "prune",
    "read_finished",
    "sizes_in",
]

RECORD = "fullpass-step.json"
_VERSION = 2  # 1 had no checksum of the record itself
_KEPT = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What a finished step leaves behind.

    Attributes:
        step, key: whose result it is, and the hash of all that it depends on.
        parts: what the key was made of, so that a change can be named.
        before: earlier step → name of the directory that was read.
        rows_in, rows_out, set_aside: the counts.
        seconds: how long it took.
        outputs: name → path relative to the directory.
        notes, info: lines shown and facts kept.
        files: file → size in bytes; a result with a missing or cut file is not taken for finished.
        beside: file outside of the directory that the step wrote → size in bytes; as with `files`.
        finished_at: UTC, ISO 8601; for people: the order of results is that of their numbers.
    """

    step: str
    key: str
    parts: Mapping[str, str]
    before: Mapping[str, str]
    rows_in: int
    rows_out: int
    set_aside: Mapping[str, int]
    seconds: float
    outputs: Mapping[str, str]
    notes: tuple[str, ...]
    info: Mapping[str, Any]
    files: Mapping[str, int]
    finished_at: str
    beside: Mapping[str, int] = dataclasses.field(default_factory=dict)
    version: int = _VERSION


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """A record and the directory that holds it."""

    directory: Path
    record: StepRecord

    def output(self, name: str) -> str:
        """Returns the path of an output."""
        return str(self.directory / self.record.outputs[name])

    def damage(self) -> str | None:
        """Returns what is wrong with the files, or None where all are there in their full size."""
        for name, size in {**self.record.files, **self.record.beside}.items():
            path = self.directory / name  # one beside it is absolute
            if not path.is_file():
                return f"{path} is gone"
            if path.stat().st_size != size:
                return f"{path} has {path.stat().st_size:,} bytes, was written with {size:,}"
        return None


def finished_steps(step_dir: Path) -> list[Finished]:
    """Returns the finished results in the directory of a step, the newest first. An unreadable record counts as none."""
    found = []
    for path in step_dir.glob(f"*/{RECORD}"):
        if not _is_run(path.parent):
            continue
        record = _read(path)
        if record is not None:
            found.append(Finished(directory=path.parent, record=record))
    # By number and not by time: clocks of two machines that share the directory differ, numbers are given under its lock.
    return sorted(found, key=lambda f: _number(f.directory), reverse=True)


def read_finished(directory: Path) -> Finished | None:
    """Returns the finished result in a directory, or None where it holds no whole record."""
    record = _read(directory / RECORD)
    return None if record is None else Finished(directory=directory, record=record)


def _read(path: Path) -> StepRecord | None:
    """Returns a record, or None where it is not a whole record of this version: its step then runs again."""
    try:
        data = parse_json(path.read_text(encoding="utf-8"), unique=True)
        if not isinstance(data, dict) or data.get("version") != _VERSION:
            return None
        if data.pop("sha256", None) != _checksum(data):
            return None
        record = decode(StepRecord, data, version=_VERSION)
    except (OSError, ValueError):
        return None
    # The checksum finds damage, no intent: what somebody else wrote must not have other files read as the step's.
    return None if any(map(_leads_out, (*record.outputs.values(), *record.files))) else record


def _leads_out(path: str) -> bool:
    return os.path.isabs(path) or ".." in Path(path).parts or "\0" in path


def _checksum(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def begin_directory(step_dir: Path, key: str, resumable: bool) -> Path:
    """Returns the directory to work in: the unfinished one of the same key where the step can go on, else a new one.

    The link `running` beside it leads to it from now on: TensorBoard can follow a training run that is not finished.

    Call it while no other run works in `step_dir`: other unfinished directories are deleted.
    """
    step_dir.mkdir(parents=True, exist_ok=True)
    unfinished = sorted(p for p in step_dir.iterdir() if _is_run(p) and not (p / RECORD).exists())
    mine = [p for p in unfinished if p.name.startswith(key[:12] + "-")] if resumable else []
    for path in unfinished:
        if path not in mine[-1:]:
            shutil.rmtree(path)
    if mine:
        _point("running", mine[-1])
        return mine[-1]
    number = 1 + max((_number(p) for p in step_dir.iterdir() if _is_run(p)), default=0)
    directory = step_dir / f"{key[:12]}-{number}"
    directory.mkdir()
    _point("running", directory)
    return directory


def commit(directory: Path, record: StepRecord) -> Finished:
    """Writes the record, which makes the directory a finished result, and points `latest` to it."""
    files = {
        str(path.relative_to(directory)): path.stat().st_size
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != RECORD
    }
    record = dataclasses.replace(record, files=files)
    with atomic_file(directory / RECORD) as temporary:
        data = dataclasses.asdict(record)
        temporary.write_text(json.dumps({**data, "sha256": _checksum(data)}, indent=1, sort_keys=True))
    point_latest(directory)
    return Finished(directory=directory, record=record)


def sizes_in(directories: Sequence[str]) -> dict[str, int]:
    """Returns the size in bytes of each file below some local directories, by its absolute path."""
    found = (path for each in directories for path in sorted(Path(each).resolve().rglob("*")) if path.is_file())
    return {str(path): path.stat().st_size for path in found}


def point_latest(directory: Path) -> None:
    """Makes the symbolic links `latest` and `running` beside the directory lead to it, atomically."""
    _point("latest", directory)
    _point("running", directory)


def drop_unfinished(work_dir: Path, steps: Collection[str]) -> None:
    """Deletes the links `running` to unfinished work of other steps than those of a run that finished: it is no part of that run."""
    for link in work_dir.glob("*/running"):
        if link.is_symlink() and link.parent.name not in steps and not (link / RECORD).is_file():
            link.unlink(missing_ok=True)


def _point(name: str, directory: Path) -> None:
    link = directory.parent / f".{name}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(directory.name)
    os.replace(link, directory.parent / name)


def prune(step_dir: Path, current: Path) -> None:
    """Deletes all but the newest few results and what the current one replaces."""
    results = finished_steps(step_dir)
    key = next(f.record.key for f in results if f.directory == current)
    others = [f for f in results if f.directory != current]
    for i, finished in enumerate(others):
        if i >= _KEPT - 1 or finished.record.key == key:
            (finished.directory / RECORD).unlink()  # first, so that a kill leaves unfinished work and no damaged result
            shutil.rmtree(finished.directory)


def _number(run: Path) -> int:
    """Returns the number of a run's directory: each new one has a higher number than all that are there."""
    return int(run.name.rpartition("-")[2])


def _is_run(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and path.name.rpartition("-")[2].isdecimal()
