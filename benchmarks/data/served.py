"""The versions of a model that servers are measured with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["save_versions"]

_CODE = """
import sys
from pathlib import Path
from tests.support.served_model import save_version
for number, bias in enumerate(sys.argv[2:], 1):
    save_version(Path(sys.argv[1]), number, bias=float(bias))
"""


def save_versions(folder: Path, *biases: float) -> Path:
    """Makes a directory of versions 1, 2, ..., one of each bias; TensorFlow's threads are in a process that ends with it."""
    folder.mkdir()
    subprocess.run([sys.executable, "-c", _CODE, str(folder), *map(str, biases)], check=True)
    return folder
