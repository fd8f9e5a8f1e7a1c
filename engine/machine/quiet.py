"""TensorFlow without its greetings: what it says about missing GPUs and oneDNN hides the lines that matter."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.core.environment import DEBUG

__all__ = ["import_tensorflow"]


def import_tensorflow(*libraries: str) -> None:
    """Imports TensorFlow; what it writes to stderr meanwhile is shown only where the import fails.

    With `--debug` (FULLPASS_DEBUG=1) everything is shown.

    Args:
        libraries: further modules to import, each with greetings of its own; one that is not installed is left out.
    """
    if "tensorflow" in sys.modules or DEBUG.read():
        return
    if not Path("/dev/nvidiactl").exists():  # else each process reports a driver that is not there as an error
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with _held_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()
        for name in libraries:
            if importlib.util.find_spec(name) is not None:
                importlib.import_module(name)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)


@contextlib.contextmanager
def _held_stderr() -> Iterator[None]:
    """Keeps back what is written to file descriptor 2, also from C++; gives it out where an exception leaves the block."""
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(real, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
