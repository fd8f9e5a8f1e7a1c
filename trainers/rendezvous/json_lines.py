"""Messages between the processes of a group: one JSON object a line."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from trainers.rendezvous.messages import LIMIT_BYTES, BadMessage, decode, encode

__all__ = ["LineConnection"]

_SEND_TIMEOUT_S = 10


class LineConnection:
    """A socket on which dicts are sent; a thread hands received ones on.

    A line that is too long or no JSON object ends the connection: what follows it could not be trusted either.

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
        # Of sending alone: whoever does not read must not hold the sender, and reading may wait as long as it likes.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_TIMEOUT_S, 0))

    def start(self) -> None:
        """Begins to read."""
        threading.Thread(target=self._read, daemon=True, name="lines").start()

    def send(self, message: dict[str, Any]) -> bool:
        """Returns whether the message could be handed to the network."""
        try:
            with self._lock:
                self._socket.sendall(encode(message))
        except OSError:
            self.close()  # half a line may be out
            return False
        return True

    def close(self) -> None:
        """Ends the connection; `closed` is called by the reader."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as file:
                while line := file.readline(LIMIT_BYTES + 1):
                    self._received(decode(line))
        except (OSError, BadMessage):
            pass
        finally:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._closed()
