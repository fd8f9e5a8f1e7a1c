"""How a supervisor comes to its rendezvous: it connects, proves that it knows the group's secret, and has that proved to it."""

from __future__ import annotations

import socket
import time
from typing import Any

from trainers.rendezvous.group_secret import is_nonce, new_nonce, proof, proves
from trainers.rendezvous.json_lines import BadMessage, LineBuffer, encode

__all__ = ["NoWelcome", "connect"]


class NoWelcome(Exception):
    """Nobody there, or somebody who did not prove the group's secret; the text says which."""


def connect(address: tuple[str, int], secret: bytes, timeout_s: float) -> socket.socket:
    """Returns a connection whose other end knows the secret, and knows that this one does.

    Args:
        address: host and port of the rendezvous.
        secret: of the group.
        timeout_s: for all of it.

    Raises:
        NoWelcome: it did not come to that.
    """
    until = time.monotonic() + timeout_s
    try:
        connection = socket.create_connection(address, timeout=timeout_s)
    except OSError as error:
        raise NoWelcome(f"no connection: {error}") from None
    try:
        challenge = _line(connection, until)
        theirs, ours = challenge.get("nonce"), new_nonce()
        if challenge.get("is") != "challenge" or not is_nonce(theirs):
            raise NoWelcome(f"it speaks another protocol (its first word is {challenge.get('is')!r:.40})")
        connection.sendall(encode({"is": "hello", "nonce": ours, "proof": proof(secret, "member", theirs, ours)}))
        if not proves(_line(connection, until).get("proof"), secret, "rendezvous", theirs, ours):
            raise NoWelcome("it does not know this group's secret")
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException as error:
        connection.close()
        if isinstance(error, (OSError, BadMessage)):
            raise NoWelcome(f"it did not answer the handshake: {error or type(error).__name__}") from None
        raise
    return connection


def _line(connection: socket.socket, until: float) -> dict[str, Any]:
    """Reads to the end of a line and not beyond: what follows is the reader's."""
    buffer = LineBuffer()
    while True:
        connection.settimeout(max(0.01, until - time.monotonic()))
        # Byte by byte, or a part of the next message would be swallowed: some 200 bytes, once a connection.
        more = connection.recv(1)
        if not more:
            raise NoWelcome("it hung up: another secret, or too many connections at once")
        for message in buffer.messages(more):
            return message
        if time.monotonic() > until:
            raise NoWelcome("it did not answer the handshake in time")
