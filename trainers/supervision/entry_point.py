"""Runs what a worker is for: a script, a module or a function; and tells the supervisor how it ended."""

from __future__ import annotations

import importlib
import runpy
import sys

from engine.core.errors import ConfigError, FullpassError
from engine.core.exit_codes import DONE, FAILED, PROGRAM_ERROR
from engine.core.redaction import redact
from engine.core.run_log import print_traceback
from engine.core.text_encoding import visible
from trainers.supervision.supervisor_client import current_link

__all__ = ["run_target"]

# Restarting does not mend these; everything else (a peer that is gone, a full disk, no memory) may pass.
_PROGRAM_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, NotImplementedError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip


def run_target(argv: list[str]) -> int:
    """Runs a target and returns its exit code: 0, what it exits with, that of a `FullpassError` (2 wrong input),
    4 a program error, 1 anything else.

    Args:
        argv: ["script.py", ...], ["-m", "module", ...] or ["module:function", ...] with the arguments that follow.
    """
    link = current_link()
    try:
        _run(argv)
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
        if code:
            link.send(error=f"exit code {ending.code}")
        return code
    except BaseException as error:
        print_traceback()
        said = visible(redact(" ".join(str(error).split())))  # before it is cut: half a URI shows its credentials
        link.send(error=f"{type(error).__name__}: {said[:500]}")
        if isinstance(error, FullpassError):
            return error.exit_code
        return PROGRAM_ERROR if isinstance(error, _PROGRAM_ERRORS) else FAILED
    return DONE


def _run(argv: list[str]) -> None:
    if not argv:
        raise ConfigError("no target: give a script, -m MODULE or MODULE:FUNCTION")
    first = argv[0]
    if first == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif first.endswith(".py"):
        sys.argv = argv
        runpy.run_path(first, run_name="__main__")
    elif ":" in first:
        module, _, name = first.partition(":")
        sys.argv = argv
        code = getattr(importlib.import_module(module), name)(*argv[1:])
        if isinstance(code, int) and code:
            raise SystemExit(code)
    else:
        raise ConfigError(f"target {first!r}: 'script.py', '-m module' or 'module:function' is expected")
