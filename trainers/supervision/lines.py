"""Messages between the processes of a group: one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["LineConnection"]


class LineConnection:
    """A socket on which dicts are sent; a thread hands received ones on.

    Args:
        connection: a connected stream socket.
        received: called with each dict, in the reader thread.
        closed: called once when the other side is gone.
    """

    def __init__(
        self, connection: socket.socket, received: Callable[[dict[str, Any]], None], closed: Callable[[], None]
    ) -> None:
        self._socket, self._received, self._closed = connection, received, closed
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begins to read."""
        threading.Thread(target=self._read, daemon=True, name="lines").start()

    def send(self, message: dict[str, Any]) -> bool:
        """Returns whether the message could be handed to the network."""
        try:
            with self._lock:
                self._socket.sendall((json.dumps(message) + "\n").encode())
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Ends the connection; `closed` is called by the reader."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as file:
                for line in file:
                    self._received(json.loads(line))
        except (OSError, ValueError):
            pass
        finally:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._closed()
