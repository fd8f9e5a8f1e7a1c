"""Network ports of this machine."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["bound_socket", "free_ports"]


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


def bound_socket(host: str, port: int) -> socket.socket:
    """Returns a socket for TCP that shares its port with other processes of the same user, a server's.

    Args:
        host: address of this machine.
        port: 0 for any that is free.

    Raises:
        OSError: the port is taken by another program.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by name: asyncio turns Nagle's algorithm off for such sockets alone, and with it each answer, of a head and a
    # body, would wait 40 ms for the client's delayed acknowledgement.
    out = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        out.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        out.bind((host, port))
    except BaseException:
        out.close()
        raise
    return out
