"""Network ports of this machine."""

from __future__ import annotations

import contextlib
import errno
import socket
import time

__all__ = ["bound_socket", "free_ports", "held_port"]

_AGAIN_S = 0.1


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
    return _bound(host, port, socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def held_port(host: str, port: int, patience_s: float = 5.0) -> socket.socket:
    """Returns a socket that keeps a port for one server, whose processes share it by `bound_socket`.

    Another server of the same user could share it, too, and would answer a part of the requests.

    Args:
        host: address of this machine.
        port: 0 for any that is free.
        patience_s: how long one that listens is waited for: a server that was killed has processes that are about to leave.

    Raises:
        OSError: another program has the port, or another server.
    """
    until = time.monotonic() + patience_s
    while port:
        try:
            _bound(host, port, socket.SO_REUSEADDR).close()
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if time.monotonic() >= until:
                text = (
                    f"{host}, port {port}, is in use by another program or another server; end it, or take another port"
                )
                raise OSError(errno.EADDRINUSE, text) from None
        time.sleep(_AGAIN_S)
    try:
        # Without SO_REUSEADDR: it is in the way of the next one's look, though it does not listen.
        return _bound(host, port, socket.SO_REUSEPORT)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return bound_socket(host, port)  # beside connections that another program's server has left


def _bound(host: str, port: int, *options: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by name: asyncio turns Nagle's algorithm off for such sockets alone, and with it each answer, of a head and a
    # body, would wait 40 ms for the client's delayed acknowledgement.
    out = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        out.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in options:
            out.setsockopt(socket.SOL_SOCKET, option, 1)
        out.bind((host, port))
    except BaseException:
        out.close()
        raise
    return out
