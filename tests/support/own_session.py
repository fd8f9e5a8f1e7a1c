"""A program of a test together with all that it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

__all__ = ["run_in_session"]


def run_in_session(words: Sequence[str], timeout_s: float, cwd: str, env: Mapping[str, str]) -> tuple[int, str]:
    """Returns the exit code of a program and what it said on stderr; nothing that it started in its session outlives it."""
    process = subprocess.Popen(
        words, env=env, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, said = process.communicate(timeout=timeout_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, said
