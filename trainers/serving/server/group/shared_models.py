"""One list of models for all processes of a server, whichever of them a client's reload reaches.

The process that was asked serves the new list first; then it writes the list to a file that every process follows, and answers once
each has said that it serves it. One that cannot is named in the answer, goes on with what it served before, and takes the list as
soon as it can: the list is not taken back, since a process that fails to load may fail to go back as well. A process that is started
later, in place of a killed one say, begins with the list of the file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.machine.lock import LockHeld, hold_directory, locked, unheld
from engine.machine.private_files import private
from trainers.serving.server.config import ModelConfig, ServeConfig
from trainers.serving.server.core import Core
from trainers.serving.server.errors import RequestError, Unavailable

__all__ = ["SharedModels"]

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.05
_AFTER_ERROR_S = 5.0
_WAIT_S = 300.0  # as long as a process may take to start
_KINDS = {kind.code: kind for kind in RequestError.__subclasses__()}


@dataclasses.dataclass(frozen=True)
class _Turn:
    """The list of models that a client asked for, or of the start, which is number 0."""

    number: int
    models: tuple[ModelConfig, ...]


class SharedModels:
    """This process' part in the models of its server. From now on, until `leave`, every reload waits for this process too.

    Args:
        folder: of the server, the same for all of its processes and for this user alone.
        config: of the server.
    """

    def __init__(self, folder: Path, config: ServeConfig) -> None:
        self._config = config
        self._folder = folder / "models"
        self._file, self._members = self._folder / "turns.json", self._folder / "members"
        self._members.mkdir(parents=True, exist_ok=True)
        # Named once it is held: a name without a holder is a process that has ended.
        made = Path(tempfile.mkdtemp(prefix=f".{os.getpid()}-", dir=self._members))
        self._held = hold_directory(made)
        self._own = made.rename(made.with_name(made.name[1:]))
        # After the name is there: who writes another list meanwhile finds this process, or this process finds the list.
        self._seen = self._look()
        turns = self._read()
        self._number = -1 if turns else 0
        self._serving = threading.Lock()
        self._left = threading.Event()
        self._core: Core
        self.first = turns[0].models if turns else config.models

    def load(self, core: Core) -> None:
        """Loads the models of the server as they are now, and follows them; blocks until they were looked for.

        Args:
            core: made with the models `first`.
        """
        self._core = core
        if self._number == 0:
            core.load()
        self._follow()
        threading.Thread(target=self._watch, daemon=True, name="models of the server").start()

    def leave(self) -> None:
        """Says that this process answers no longer: no reload waits for it."""
        self._left.set()
        os.close(self._held)

    def reload(self, models: tuple[ModelConfig, ...]) -> None:
        """Serves these models from now on, in every process; blocks until each has looked for them.

        Raises:
            Unavailable: a model has no version that can be served, and is waited for. Or the server stops, or a process did not answer.
            FailedPrecondition: a label is for a version that is not served; the labels of its model stay as they were.
            RequestError: what a process failed with.
        """
        self._check_running()
        with self._alone():
            with self._serving:
                self._catch_up()
                error, number = self._serve(models)
            others = self._answers(number)
        if error is not None:
            raise error
        if others:
            _, code, text = others[0]
            behind = ", ".join(process for process, *_ in others)
            raise _KINDS.get(code, RequestError)(
                f"{text} (process {behind} of the server's {self._config.processes} answers as before, and takes the list as soon as it "
                "can: it tries again. The others serve it already; to go back, ask for the list before)"
            )

    def _serve(self, models: tuple[ModelConfig, ...]) -> tuple[Exception | None, int]:
        """Serves a list here and writes it for the others: after, since one that ends the process must not end them all."""
        core, before, error = self._core, self._read() or [_Turn(0, self._config.models)], None
        # What has no version yet is answered by the list before: a process that starts now must take the lists in the same order.
        kept = before if core.waits else before[-1:]
        number = before[-1].number + 1
        try:
            core.reload(models)
        except Exception as failure:  # what is served here after it is what the others are to serve
            error = failure
        turns = [_Turn(number, core.wanted)]
        if core.waits:
            while kept and kept[-1].models == core.wanted:  # a client that asks again and again adds nothing
                kept = kept[:-1]
            turns = [*kept, *turns]
        _write(self._file, [dataclasses.asdict(turn) for turn in turns])
        self._say(number, None)  # the error is raised here
        return error, number

    def _follow(self) -> None:
        with self._serving:
            self._catch_up()

    def _catch_up(self) -> None:
        for turn in self._read():
            if turn.number > self._number:
                error: Exception | None = None
                try:
                    self._core.reload(turn.models, follow=True)
                except Exception as failure:
                    error = failure
                    if not isinstance(failure, RequestError):
                        _LOG.error("another list of models", exc_info=failure)
                self._say(turn.number, error)

    def _say(self, number: int, error: Exception | None) -> None:
        self._number = number
        code = None if error is None else getattr(error, "code", RequestError.code)
        _write(self._own / "answer.json", {"number": number, "code": code, "text": str(error or "")})

    def _watch(self) -> None:
        while not self._left.wait(_LOOK_S):
            try:
                found = self._look()
                if found != self._seen:
                    self._follow()
                    self._seen = found
            except Exception as error:  # a thread that ended here would leave this process behind for ever
                if self._left.is_set():
                    return
                _LOG.error("the models of the server were not looked at", exc_info=error)
                self._left.wait(_AFTER_ERROR_S)

    def _answers(self, number: int) -> list[tuple[str, str, str]]:
        """Waits for every process that runs; returns id, code and text of those that failed."""
        until = time.monotonic() + _WAIT_S
        while True:
            failed, late = [], []
            for member in [each for each in sorted(self._members.iterdir()) if not each.name.startswith(".")]:
                process, answer = member.name.partition("-")[0], _json_of(member / "answer.json")
                if answer is not None and answer["number"] >= number:
                    failed += [(process, answer["code"], answer["text"])] if answer["code"] else []
                elif not _ended(member):
                    late.append(process)
            if not late:
                return failed
            self._check_running()
            if time.monotonic() > until:
                raise Unavailable(
                    f"process {', '.join(late)} of the server does not serve the new list after {_WAIT_S:g} s, and will as soon as it "
                    "can; others serve it"
                )
            time.sleep(_LOOK_S)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One reload after the other, whichever processes they reach."""
        while True:
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(locked(self._folder, wait=False))
                except LockHeld:
                    pass
                else:
                    yield
                    return
            self._check_running()
            time.sleep(_LOOK_S)

    def _check_running(self) -> None:
        if self._left.is_set():
            raise Unavailable("the server is stopping")

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _read(self) -> list[_Turn]:
        return [
            _Turn(turn["number"], tuple(map(ModelConfig.from_mapping, turn["models"])))
            for turn in _json_of(self._file) or ()
        ]


def _ended(member: Path) -> bool:
    with unheld(member) as ended:
        if ended:
            shutil.rmtree(member, ignore_errors=True)
    return ended or not member.exists()


def _json_of(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return None


def _write(file: Path, value: Any) -> None:
    partial = file.with_name(f".{file.name}")
    with open(partial, "w", opener=private) as opened:
        json.dump(value, opened)
    partial.replace(file)
