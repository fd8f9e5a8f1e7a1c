"""What the processes of a group speak over sockets: one JSON object a line.

Supervisors and their rendezvous, a supervisor and its training process, a supervisor and its standby: all of them use this.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["LIMIT_BYTES", "BadMessage", "LineBuffer", "LineConnection", "decode", "encode"]

# Of one line. The longest honest one carries a reason of some thousand characters.
LIMIT_BYTES = 64 << 10
_TEXT_CHARACTERS, _TEXTS_BYTES = 4000, 48 << 10  # of each text, and of all as they travel: an emoji is 12 bytes then
_SEND_TIMEOUT_S = 10


class BadMessage(ValueError):
    """A line that is not a message: too long, no JSON object, an unknown kind, a field of the wrong type."""


def encode(message: Mapping[str, Any]) -> bytes:
    """Returns a message as one line; texts are cut so that the line stays within `LIMIT_BYTES`."""
    texts, most = {k: v for k, v in message.items() if isinstance(v, str)}, _TEXT_CHARACTERS
    while len(json.dumps(cut := {k: v[:most] for k, v in texts.items()})) > _TEXTS_BYTES and most > 1:
        most //= 2
    return (json.dumps({**message, **cut}) + "\n").encode()


def decode(line: bytes) -> dict[str, Any]:
    """Returns the object that a line holds; halves of surrogate pairs in its texts are shown as they are written.

    Raises:
        BadMessage: the line is not a JSON object.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # a deep nesting is a RecursionError
        raise BadMessage(f"no JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise BadMessage(f"a JSON {type(value).__name__} where an object is expected")
    # JSON may hold halves of surrogate pairs ("\\ud800"; Python puts bytes of a path that are no UTF-8 so, too): no text that
    # can be encoded, written to a log or hashed.
    return {key: _whole(text) if isinstance(text, str) else text for key, text in value.items()}


def _whole(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class LineBuffer:
    """Puts the pieces that a socket gives together to messages.

    Args:
        limit: most bytes of a line; None for a sender that may send any. It may be changed between two messages.
    """

    def __init__(self, limit: int | None = LIMIT_BYTES) -> None:
        self.limit = limit
        self._pending = bytearray()

    def messages(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yields the messages that are whole with these further bytes.

        Raises:
            BadMessage: a line is too long, or no JSON object; what follows it could not be trusted either.
        """
        self._pending += data
        while (end := self._pending.find(b"\n")) >= 0:
            self._check(end + 1)
            line = bytes(self._pending[: end + 1])
            del self._pending[: end + 1]
            yield decode(line)
        self._check(len(self._pending))

    def _check(self, length: int) -> None:
        if self.limit is not None and length > self.limit:
            raise BadMessage(f"a line of {length:,} bytes; at most {self.limit:,} are allowed")


class LineConnection:
    """A socket on which dicts are sent; a thread hands received ones on.

    A line that is too long or no JSON object ends the connection.

    Args:
        connection: a connected stream socket.
        received: called with each dict, in the reader thread.
        closed: called once when the other side is gone.
    """

    def __init__(
        self,
        connection: socket.socket,
        received: Callable[[dict[str, Any]], None] = lambda message: None,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._socket, self._received, self._closed = connection, received, closed
        self._lock = threading.Lock()
        # Of sending alone: whoever does not read must not hold the sender, and reading may wait as long as it likes.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_TIMEOUT_S, 0))

    def start(self) -> None:
        """Begins to read; without that it only sends."""
        threading.Thread(target=self._read, daemon=True, name="lines").start()

    def send(self, message: Mapping[str, Any]) -> bool:
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
        buffer = LineBuffer()
        try:
            while data := self._socket.recv(LIMIT_BYTES):
                for message in buffer.messages(data):
                    self._received(message)
        except (OSError, BadMessage):
            pass
        finally:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._closed()
