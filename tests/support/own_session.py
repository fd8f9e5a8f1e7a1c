"""A program of a test together with all that it starts."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping

from tests.support.forks import start_forked

__all__ = ["run_in_session"]


def run_in_session(code: str, word: str, timeout_s: float, cwd: str, env: Mapping[str, str]) -> tuple[int, str]:
    """Returns the exit code of a program and what it said on stderr; nothing that it started in its session outlives it."""
    process = start_forked(code, word, cwd=cwd, env=env, start_new_session=True)
    try:
        _, said = process.communicate(timeout_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        exit_code = process.wait()
    return exit_code, said
