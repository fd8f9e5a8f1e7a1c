"""The user's module of a TFX component, imported from the wheel that TFX packed it in.

TFX installs that wheel by pip three times in a run, each in a process of its own. It is a zip file of one module without
dependencies: unpacking it is the same installation.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence

from engine.storage import uris

__all__ = ["importable", "in_this_process", "is_user_module"]

_LOCAL_RUNNERS = (None, "DirectRunner", "direct", "apache_beam.runners.direct.direct_runner.DirectRunner")
_WHEEL = re.compile(r"[\w.]+@.*/tfx_user_code_[^/]*-py3-none-any\.whl")


def in_this_process(arguments: Sequence[str]) -> bool:
    """Returns whether a Beam pipeline with these arguments runs in this process.

    Args:
        arguments: of the pipeline, as on a command line.
    """
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

    options = PipelineOptions(flags=list(arguments))
    direct = options.view_as(DirectOptions).direct_running_mode
    return options.view_as(StandardOptions).runner in _LOCAL_RUNNERS and direct != "multi_processing"


def is_user_module(module: str) -> bool:
    """Returns whether TFX's name of a user's module, `name@wheel`, has a local wheel that TFX itself made of one file."""
    return bool(_WHEEL.fullmatch(module)) and not uris.is_remote(module.split("@", 1)[1])


@contextlib.contextmanager
def importable(module: str) -> Iterator[str]:
    """Makes a packed module importable, here and in processes that are started meanwhile.

    Args:
        module: `name@wheel`.

    Yields:
        The name to import it by.
    """
    name, wheel = module.split("@", 1)
    with tempfile.TemporaryDirectory(prefix="fullpass-user-") as directory:
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(directory)
        before = os.environ.get("PYTHONPATH")
        sys.path.append(directory)
        os.environ["PYTHONPATH"] = os.pathsep.join(each for each in (before, directory) if each)
        try:
            yield name
        finally:
            sys.path.remove(directory)
            if before is None:
                os.environ.pop("PYTHONPATH", None)
            else:
                os.environ["PYTHONPATH"] = before
