"""Network ports of this machine."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["free_ports"]


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Returns distinct ports that no program listens on now. Another may take one before it is used: be ready to try again.

    Args:
        count: how many.
        host: address of this machine on which they are to be used; "" for all of them.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
