"""Stands before runc on the node: mounts that lie below a pod's own volumes come after them.

containerd puts the mounts of its base specification first, so a checkout below /tmp would be covered by the volume that a pod has
at /tmp. Run in runc's place with runc's words; it imports nothing of the project.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path


def deepest_last(bundle: str) -> None:
    """Sorts the mounts of a bundle by depth; those of one depth keep their order."""
    config = Path(bundle) / "config.json"
    spec = json.loads(config.read_text())
    spec["mounts"].sort(key=lambda mount: mount["destination"].rstrip("/").count("/"))
    config.write_text(json.dumps(spec))


if __name__ == "__main__":
    words = sys.argv[1:]
    if "create" in words:
        deepest_last(words[words.index("--bundle") + 1] if "--bundle" in words else ".")
    runc = shutil.which("runc")
    assert runc is not None, "runc is not on PATH"
    os.execv(runc, [runc, *words])
