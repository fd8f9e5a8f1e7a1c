"""The token of a Ray that runs for a search alone: Ray asks everybody who connects for it, so its owner alone may read it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from engine.machine.private_files import PRIVATE, private

__all__ = ["keep_token_private"]


def keep_token_private() -> None:
    """Makes Ray's token, ~/.ray/auth_token, before Ray does, which would let every user of the machine read it.

    Ray listens on all interfaces, and whoever has the token runs code in it. Where the variables RAY_AUTH_TOKEN or
    RAY_AUTH_TOKEN_PATH give another one, nothing is done.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):  # a home that cannot be written to: Ray says so itself
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            with open(path, "x", opener=private) as file:
                file.write(secrets.token_hex(32))
        except FileExistsError:
            path.chmod(PRIVATE)
