"""Runs a test file of TFT's wheel with our transforms in TFT's place. `python -m tests.support.tft_suite MODULE [NAMES]`

TFT's own tests cannot run under pytest (it breaks what they pickle), so `absltest` runs them in a process of its own.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Sequence

__all__ = ["run_suite"]

_REPLACED = ("AnalyzeDataset", "AnalyzeAndTransformDataset", "TransformDataset")


def run_suite(module: str, names: Sequence[str] = (), timeout_s: float = 900) -> tuple[int, set[str], str]:
    """Returns (number of tests that passed, names of those that did not, output).

    Args:
        module: e.g. "tensorflow_transform.beam.vocabulary_integration_test".
        names: "Class.method" of the tests to run; none for all.
        timeout_s: for all of them.
    """
    root = pathlib.Path(__file__).resolve().parents[2]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(root)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.tft_suite", module, *names],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )
    failed = set(re.findall(r"\[  FAILED  \] \S+\.(\w+)", done.stdout))
    if done.returncode and not failed:
        failed = {"(the process itself)"}
    return done.stdout.count("[       OK ]"), failed, done.stdout


def main() -> None:
    """Puts our transforms into TFT's modules and runs the tests of one."""
    import tensorflow_transform.beam as tft_beam
    from absl.testing import absltest
    from tensorflow_transform.beam import impl

    from transforms import beam as ours

    for name in _REPLACED:
        setattr(impl, name, getattr(ours, name))
        setattr(tft_beam, name, getattr(ours, name))
    absltest.main(module=importlib.import_module(sys.argv.pop(1)))


if __name__ == "__main__":
    main()
