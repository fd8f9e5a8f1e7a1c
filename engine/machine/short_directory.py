"""A directory for a socket: its address has room for 108 bytes, unix(7), which a long $TMPDIR does not leave."""

from __future__ import annotations

import contextlib
import os
import tempfile

from engine.core.errors import ConfigError

__all__ = ["short_directory"]

_ADDRESS_BYTES = 100  # of 108; the directory's own name and the socket's are in them


def short_directory(socket: str) -> tempfile.TemporaryDirectory[str]:
    """Returns a new directory of this user alone whose path leaves room for the name of a socket.

    Args:
        socket: its name in the directory.

    Raises:
        ConfigError: none can be made.
    """
    for parent in (None, "/tmp", "/var/tmp", "/dev/shm"):
        with contextlib.suppress(OSError):
            made = tempfile.TemporaryDirectory(prefix="fullpass-", dir=parent)
            if len(os.fsencode(os.path.join(made.name, socket))) <= _ADDRESS_BYTES:
                return made
            made.cleanup()
    raise ConfigError(
        f"TMPDIR={tempfile.gettempdir()}: too long for the address of a socket, and /tmp, /var/tmp and /dev/shm cannot be "
        "written; set TMPDIR to a directory with a short name"
    )
