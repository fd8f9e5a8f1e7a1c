"""The `fullpass` command: a table of commands, each a module that is imported only when it is the one asked for.

A command module `cluster/cli/commands/NAME.py` has `add_arguments(parser)` and `run(args) -> int`, and may have
`DESCRIPTION` (what it does, a sentence or two) and `EPILOG` (examples to copy). Its heavy imports sit inside `run`.

Exit codes: see `engine.core.exit_codes`, which `--help` lists.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NoReturn

from cluster.cli.terminal import harmless_terminal, is_unread, leave_unread, print_anywhere
from engine.core import environment, exit_codes, run_log
from engine.core.errors import FullpassError, NotMet
from engine.core.own_packages import check_path
from engine.core.redaction import redact
from engine.core.text_encoding import visible
from engine.version import __version__

__all__ = ["COMMANDS", "build_parser", "main", "parse_words"]

# In the order of the work.
COMMANDS: dict[str, str] = {
    "run": "run a pipeline file: every step that is not finished yet",
    "ingest": "turn CSV, Parquet or TFRecord files into shards",
    "inspect": "show format, schema, counts and first rows of a data set",
    "verify": "read every byte of a data set and check it",
    "stats": "take statistics of a data set, and infer its schema",
    "validate": "hold data to a schema and to other data: anomalies, drift, skew",
    "analyze": "make the full passes of a preprocessing_fn: the transform graph",
    "transform": "apply a transform graph: transformed shards",
    "train": "train a model through a tf.distribute strategy",
    "tune": "search for settings: many trainings, the best one goes on into export",
    "evaluate": "measure an exported model, overall and by segment",
    "export": "write a SavedModel that takes raw tf.Examples",
    "report": "write one page about a run, or several side by side",
    "push": "make an evaluated version the one that is served, or roll back",
    "compare": "compare two runs: what changed, metrics by segment, whether one may replace the other",
    "lineage": "show and check where a model comes from: data, graph, code, evaluation",
    "predict": "write a model's answers to a whole data set",
    "serve": "answer requests over gRPC and REST, with TensorFlow Serving's API",
    "submit": "run a job on this machine, Ray or Kubernetes",
    "status": "show the state of submitted jobs",
    "logs": "stream the logs of a submitted job",
    "cancel": "stop a submitted job",
    "wait": "wait for a submitted job to finish",
    "jobs": "list submitted jobs",
    "bench": "measure how fast your own data is read",
}
_PACKAGE = "cluster.cli.commands"
_EPILOG = """\
examples:
  fullpass run examples/flights/pipeline.toml          the whole pipeline, on real data
  fullpass inspect 's3://bucket/train/*.tfrecord.gz'   what is in there
  fullpass COMMAND --help                              what a command does, by example

exit codes:
"""
_EPILOG += "\n".join(f"  {code:<4} {meaning}" for code, meaning in exit_codes.MEANINGS.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code of the process.

    Args:
        argv: the words after `fullpass`; those of this process where None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    print_anywhere()
    with _own_environment(), harmless_terminal():
        return _main(words)


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """Takes back what a command's options set: --quiet of one call must not silence the next one of this process."""
    names = (environment.DEBUG.name, environment.PROGRESS.name, environment.VERBOSE.name)
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _main(words: list[str]) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    debug = "--debug" in words
    if debug:
        os.environ[environment.DEBUG.name] = "1"
    with run_log.recording():
        try:
            code = _work(words, debug)
        except SystemExit as ending:
            run_log.record(f"ends with exit code {ending.code}")
            raise
        run_log.record(f"ends with exit code {code}")
        return code


def _work(words: list[str], debug: bool) -> int:
    try:
        check_path()
        module, args = parse_words(words)
        if getattr(args, "quiet", False):
            os.environ[environment.PROGRESS.name] = "0"
        if getattr(args, "verbose", False):
            os.environ[environment.VERBOSE.name] = "1"
        if environment.VERBOSE.read():
            run_log.show_more()
        with run_log.in_step(args.command):
            return int(module.run(args) or 0)
    except KeyboardInterrupt:
        return _fail("interrupted", exit_codes.INTERRUPTED, debug, kind="")
    except FullpassError as error:
        source = error.__cause__ if isinstance(error.__cause__, FullpassError) else error  # a step's, of a pipeline's
        return _fail(str(error), source.exit_code, debug, kind="" if isinstance(source, NotMet) else "error: ")
    except OSError as error:
        # `fullpass logs | head`: the reader has what it wanted.
        if is_unread(error):
            leave_unread()
            return 0
        return _fail(_said(error), exit_codes.FAILED, debug)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        hint = "" if run_log.log_path() else " (run it again with --debug for the traceback)"
        return _fail(f"{text}{hint}", 1, debug, kind="internal error: ")


class _Parser(argparse.ArgumentParser):
    """Refuses words, which may be URIs, without their credentials."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, message and visible(redact(message)))


def build_parser(command: str | None = None) -> tuple[argparse.ArgumentParser, ModuleType | None]:
    """Returns the parser and the module of `command`; of all others it knows only the one-line help."""
    common = _Parser(add_help=False)
    # SUPPRESS: the default of the command would overwrite what was said before it.
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    common.add_argument(
        "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="show more of what is done, with times"
    )
    common.add_argument("-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help="show no progress")
    parser = _Parser(
        prog="fullpass",
        description="Shard, pass over, train on and serve from data that outgrew one machine, with TensorFlow.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"fullpass {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    module = None
    for name in available_commands():
        mine = importlib.import_module(f"{_PACKAGE}.{name}") if name == command else None
        sub = commands.add_parser(
            name,
            help=COMMANDS[name],
            description=getattr(mine, "DESCRIPTION", None) or _sentence(COMMANDS[name]),
            epilog=getattr(mine, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
        )
        if mine is not None:
            mine.add_arguments(sub)
            module = mine
    return parser, module


def available_commands() -> list[str]:
    """Returns the names of the commands, in the order of the work."""
    return list(COMMANDS)


def parse_words(words: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    """Returns the module of the command that words name, and its arguments; wrong words end the process, as argparse does."""
    command = next((word for word in words if not word.startswith("-")), None)
    parser, module = build_parser(command)
    if command is None and not words:
        parser.print_help()
        raise SystemExit(exit_codes.WRONG_INPUT)
    if command is not None and module is None:
        near = difflib.get_close_matches(command, available_commands(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"the commands are {', '.join(available_commands())}"
        parser.exit(exit_codes.WRONG_INPUT, f"fullpass: error: no command '{command}'; {hint}\n")
    args = parser.parse_args(words)
    if module is None:
        parser.error("which command? `fullpass --help` lists them")
    assert module is not None
    return module, args


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _said(error: OSError) -> str:
    """Returns what an error of the system says; that of a write says no file, and on a full disk the temporary ones are most likely."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT) or error.filename is not None:
        return str(error)
    import shutil
    import tempfile

    try:
        place = tempfile.gettempdir()
        free = shutil.disk_usage(place).free
    except OSError:  # there is no directory for temporary files
        return f"{error}; make room, or set TMPDIR to a directory that has some"
    return (
        f"{error}; temporary files go to {place}, where {free:,} bytes are free: make room, or set TMPDIR to a directory that "
        "has some"
    )


def _fail(message: str, code: int, debug: bool, kind: str = "error: ") -> int:
    """Says in one line what went wrong, and returns the exit code; called while the exception is handled."""
    if debug:
        run_log.print_traceback()
    line = f"{kind}{' '.join(message.split())}"
    log = run_log.log_path()
    run_log.record(line, logging.ERROR, sys.exc_info()[1])
    run_log.print_line(visible(redact(f"fullpass: {line}{f'; log {log}' if log else ''}")), sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
