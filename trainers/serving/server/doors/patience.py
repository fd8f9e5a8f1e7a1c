"""How long a client may take and how many connections there may be: who sends slowly, or nothing, keeps nobody out.

uvicorn has a limit of time between two requests alone. Without these a silent connection, half a head, or a body of which a byte
comes now and then held its descriptor for ever, without a token, and some hundred of them the whole server.
"""

from __future__ import annotations

import asyncio
import heapq
import resource
from typing import Protocol

__all__ = ["Client", "Patience"]

_LEAST_BYTES_PER_S = 1000  # of a request, after the first `idle_s`
_SHARE = 2  # one in so many descriptors is a connection; the others are for gRPC, models and what TensorFlow opens
# One in so many connections goes when there are too many: looking for the oldest costs as much as one does.
_AT_ONCE = 20


class Client(Protocol):
    """A connection, as `Patience` sees it.

    Attributes:
        transport: of asyncio; None before it is made.
        waiting_since: since when the next request, or the rest of one, is waited for; None while one is answered.
        heard: bytes that came since.
        answered: requests that were answered.
        reading_paused: it is the server that takes no more bytes.
    """

    transport: asyncio.Transport
    waiting_since: float | None
    heard: int
    answered: int

    @property
    def reading_paused(self) -> bool:
        """Whether the server takes no more bytes for now."""


class Patience:
    """What a server's connections share.

    Args:
        idle_s: after which a connection is closed that says nothing, or reads nothing of its answers.
    """

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._clients: dict[Client, asyncio.TimerHandle] = {}

    def arrived(self, client: Client) -> None:
        """A connection is made; where there are too many, those that wait longest go, first of all those that never asked."""
        loop = asyncio.get_running_loop()
        client.waiting_since, client.heard = loop.time(), 0
        self._clients[client] = loop.call_later(self._idle_s, self._look, client, -1, 0)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE
        if len(self._clients) > most:
            waiting = [each for each in self._clients if each is not client and each.waiting_since is not None]
            for each in heapq.nsmallest(
                1 + most // _AT_ONCE, waiting, key=lambda it: (it.answered > 0, it.waiting_since or 0)
            ):
                self._end(each)

    def gone(self, client: Client) -> None:
        """A connection has ended."""
        if (timer := self._clients.pop(client, None)) is not None:
            timer.cancel()

    def _look(self, client: Client, answered: int, unsent: int) -> None:
        """Looks at a connection again; `answered` and `unsent` are what they were at the last look."""
        loop, again = asyncio.get_running_loop(), self._idle_s
        now, left = loop.time(), client.transport.get_write_buffer_size()
        if left and left == unsent and client.answered == answered:
            self._end(client)  # it reads nothing
            return
        if client.waiting_since is not None:
            # Who still takes an answer, or has only now taken the last of it, has the whole time from here on.
            if left or unsent > 0 or client.reading_paused:
                client.waiting_since, client.heard = now, 0
            again = client.waiting_since + self._idle_s + client.heard / _LEAST_BYTES_PER_S - now
            if again <= 0:
                self._end(client)
                return
        self._clients[client] = loop.call_later(max(again, 0.01), self._look, client, client.answered, left)

    def _end(self, client: Client) -> None:
        self.gone(client)
        client.transport.abort()
