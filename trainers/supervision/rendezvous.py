"""Where the supervisors of a group meet: a small server beside the supervisor of rank 0, around the pure `GroupState`."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from trainers.supervision.group_state import Action, GroupState
from trainers.supervision.lines import LineConnection

__all__ = ["Rendezvous"]

_TICK_S = 0.1


class Rendezvous:
    """Serves a group until it has ended.

    Args:
        host: address to listen on; "" for all.
        port: port to listen on; 0 takes a free one, see `port`.
        state: the group.
        run_id: members that say another are refused: they belong to another training.
        log: takes a line for each thing that happens.
    """

    def __init__(self, host: str, port: int, state: GroupState, run_id: str, log: Callable[[str], None]) -> None:
        self._state, self._run_id, self._log = state, run_id, log
        self._server = _listen(host, port)
        self.port: int = self._server.getsockname()[1]
        self._events: queue.Queue[Callable[[], list[Action]]] = queue.Queue()
        self._connections: dict[int, LineConnection] = {}
        self._closing = False
        threading.Thread(target=self._accept, daemon=True, name="rendezvous-accept").start()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="rendezvous")
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stops; waits for the members to hang up first, so that each has read its last message."""
        until = time.monotonic() + timeout_s
        while self._connections and time.monotonic() < until:
            time.sleep(0.02)
        self._closing = True
        self._server.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._welcome(connection)

    def _welcome(self, connection: socket.socket) -> None:
        who: list[int] = []

        def received(message: dict[str, Any]) -> None:
            self._events.put(lambda: self._handle(line, who, message))

        def closed() -> None:
            self._events.put(lambda: self._closed(line, who))

        line = LineConnection(connection, received, closed)
        line.start()

    def _serve(self) -> None:
        while not self._closing:
            actions: list[Action] = []
            with contextlib.suppress(queue.Empty):
                actions += self._events.get(timeout=_TICK_S)()
            more, silent = self._state.tick(time.monotonic())
            for action in actions + more:
                self._send(action)
            for rank in silent:
                self._log(f"{self._name(rank)} is silent: taken for dead")
                gone = self._connections.pop(rank, None)
                if gone is not None:
                    gone.close()

    def _send(self, action: Action) -> None:
        what = action.message
        self._log(f"{what['do']} -> {self._name(action.rank)} {what.get('generation', what.get('reason', ''))}")
        line = self._connections.get(action.rank)
        if line is not None:
            line.send(what)

    def _name(self, rank: int) -> str:
        return self._state.names[rank] if rank < len(self._state.names) else f"member {rank}"

    def _handle(self, line: LineConnection, who: list[int], message: dict[str, Any]) -> list[Action]:
        now, kind = time.monotonic(), message.get("is")
        if kind == "join":
            return self._join(line, who, message, now)
        if not who or self._connections.get(who[0]) is not line:
            return []
        rank = who[0]
        if kind == "exited":
            self._log(f"{self._name(rank)} ended with {message['code']}: {message['reason']}")
            return self._state.exited(rank, message["generation"], message["code"], message["reason"], now)
        if kind == "leave":
            self._connections.pop(rank, None)
            self._log(f"{self._name(rank)} leaves: {message['reason']}")
            return self._state.lost(rank, now, message["reason"], penalty=False)
        return self._state.beat(rank, now, message.get("step"), message.get("committed"))

    def _join(self, line: LineConnection, who: list[int], message: dict[str, Any], now: float) -> list[Action]:
        rank, size = int(message["rank"]), self._state.num_members
        if message.get("run_id") != self._run_id or message.get("size") != size or not 0 <= rank < size:
            why = f"this group is run {self._run_id!r} of {size}, you are {rank} of {message.get('size')} in {message.get('run_id')!r}"
            line.send({"do": "failed", "reason": why, "code": 2})
            return []
        before = self._connections.get(rank)
        actions: list[Action] = []
        if before is not None and before is not line:
            before.close()
            actions += self._state.lost(rank, now, "its supervisor was started again")
        self._connections[rank] = line
        who[:] = [rank]
        return actions + self._state.joined(rank, int(message.get("generation", 0)), now)

    def _closed(self, line: LineConnection, who: list[int]) -> list[Action]:
        if not who or self._connections.get(who[0]) is not line:
            return []
        del self._connections[who[0]]
        return self._state.lost(who[0], time.monotonic(), "its supervisor is gone")


def _listen(host: str, port: int) -> socket.socket:
    if host in ("", "0.0.0.0", "::") and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server((host, port))
