"""Where the supervisors of a group meet: a small server beside the supervisor of rank 0, around the pure `GroupState`.

One thread, one loop, no blocking call: whoever connects costs one small object, and only as long as it deserves one.
Strangers (connections that have not proved the group's secret) are sent nothing but a random number, get 4 KiB and some
seconds for their proof, and are at most `_MAX_STRANGERS`: with more, the oldest goes, since a member needs milliseconds.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trainers.rendezvous.group_secret import is_nonce, new_nonce, proof, proves
from trainers.rendezvous.group_state import Action, GroupState
from trainers.rendezvous.json_lines import LIMIT_BYTES, BadMessage, LineBuffer, encode
from trainers.rendezvous.messages import Exited, Join, Leave, member_message

__all__ = ["Rendezvous"]

_TICK_S = 0.1
_BEAT_S = 1.0
_MAX_STRANGERS = 64
_HELLO_BYTES = 4 << 10
_ACCEPTS_A_TURN = 64
_BACKLOG = 1024
_UNSENT_BYTES = 4 * LIMIT_BYTES  # of a member that does not read
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(eq=False)
class _Peer:
    socket: socket.socket
    address: str
    nonce: str
    since: float
    proven: bool = False
    rank: int | None = None
    incoming: LineBuffer = field(default_factory=lambda: LineBuffer(_HELLO_BYTES))
    outgoing: bytearray = field(default_factory=bytearray)


class Rendezvous:
    """Serves a group until it has ended.

    Args:
        host: address to listen on; "" for all.
        port: port to listen on; 0 takes a free one, see `port`.
        state: the group.
        run_id: members that say another are refused: they belong to another run.
        secret: of the group; only who proves to know it is heard.
        log: takes a line for each thing that happens.
        hello_timeout_s: time that a connection has to prove the secret.

    Attributes:
        port: where it listens.
        failure: why its thread has ended before `close`, or None.
    """

    def __init__(
        self,
        host: str,
        port: int,
        state: GroupState,
        run_id: str,
        secret: bytes,
        log: Callable[[str], None],
        hello_timeout_s: float = 10.0,
    ) -> None:
        self._state, self._run_id, self._secret, self._log = state, run_id, secret, log
        self._hello_timeout_s = hello_timeout_s
        self._server = _listen(host, port)
        self._server.setblocking(False)
        self.port: int = self._server.getsockname()[1]
        self.failure: str | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._accept_again_at: float | None = None
        self._strangers: dict[_Peer, None] = {}  # in the order of their coming
        self._proven: set[_Peer] = set()
        self._members: dict[int, _Peer] = {}
        self._refused: dict[str, int] = {}
        self._last_beat = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="rendezvous")
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stops; waits for the members to hang up first, so that each has read its last message."""
        until = time.monotonic() + timeout_s
        while self._members and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.02)
        self._closing = True
        self._thread.join()

    # ---- the loop

    def _run(self) -> None:
        try:
            while not self._closing:
                # Who has said something comes first: those that are accepted may take the place of a member whose proof is here.
                for key, mask in sorted(self._selector.select(_TICK_S), key=lambda found: found[0].data is None):
                    if key.data is None:
                        self._accept()
                    else:
                        self._serve(key.data, mask)
                self._tick(time.monotonic())
        except Exception as error:  # the supervisor ends with it: nothing must wait for a rendezvous that is no more
            self.failure = f"{type(error).__name__}: {error}"
            self._log(f"the rendezvous failed: {self.failure}")
        finally:
            self._server.close()
            for peer in [*self._strangers, *self._proven]:
                peer.socket.close()
            self._selector.close()

    def _tick(self, now: float) -> None:
        for peer in list(self._strangers):
            if now - peer.since <= self._hello_timeout_s:
                break  # the others came later
            self._refuse(peer, "did not prove the group's secret in time")
        if self._accept_again_at is not None and now >= self._accept_again_at:
            self._accept_again_at = None
            self._selector.register(self._server, selectors.EVENT_READ)
        if now - self._last_beat >= _BEAT_S:
            self._last_beat = now
            for peer in list(self._proven):
                self._post(peer, {"do": "beat"})
        actions, silent = self._state.tick(now)
        self._order(actions)
        for rank in silent:
            self._log(f"{self._name(rank)} is silent: taken for dead")
            if (gone := self._members.pop(rank, None)) is not None:
                self._drop(gone)

    # ---- connections

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                connection, address = self._server.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._make_room(os.strerror(error.errno))
                    return
                continue  # reset before it was accepted, a network that is down: the next may be whole
            self._welcome(connection, str(address[0]))

    def _make_room(self, why: str) -> None:
        """Lets strangers go and waits: accepting at once would fail again."""
        self._count(f"no room for a connection ({why})", "")
        for peer in list(self._strangers):
            self._drop(peer)
        self._selector.unregister(self._server)
        self._accept_again_at = time.monotonic() + 2 * _TICK_S

    def _welcome(self, connection: socket.socket, address: str) -> None:
        while len(self._strangers) >= _MAX_STRANGERS:
            self._refuse(next(iter(self._strangers)), f"was the oldest of {_MAX_STRANGERS} without proof")
        peer = _Peer(connection, address, new_nonce(), time.monotonic())
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # gone already
            connection.close()
            return
        self._selector.register(connection, selectors.EVENT_READ, peer)
        self._strangers[peer] = None
        self._post(peer, {"is": "challenge", "nonce": peer.nonce})

    def _serve(self, peer: _Peer, mask: int) -> None:
        if peer not in self._strangers and peer not in self._proven:
            return  # dropped in this very turn
        if mask & selectors.EVENT_WRITE:
            self._flush(peer)
        if mask & selectors.EVENT_READ:
            self._receive(peer)

    def _receive(self, peer: _Peer) -> None:
        try:
            data = peer.socket.recv(LIMIT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone(peer)
            return
        try:
            for message in peer.incoming.messages(data):
                if peer.proven:
                    self._order(self._handle(peer, message))
                else:
                    self._prove(peer, message)
                if peer not in self._strangers and peer not in self._proven:
                    return
        except BadMessage as error:
            self._refuse(peer, f"sent {error}" if peer.proven else "did not speak the protocol")

    def _prove(self, peer: _Peer, value: dict[str, Any]) -> None:
        nonce = value.get("nonce")
        if value.get("is") != "hello" or not is_nonce(nonce):
            raise BadMessage("no hello")
        if not proves(value.get("proof"), self._secret, "member", peer.nonce, nonce):
            self._refuse(peer, "does not know the group's secret")
            return
        peer.proven, peer.incoming.limit = True, LIMIT_BYTES
        del self._strangers[peer]
        self._proven.add(peer)
        self._post(peer, {"is": "welcome", "proof": proof(self._secret, "rendezvous", peer.nonce, nonce)})

    def _post(self, peer: _Peer, message: dict[str, Any]) -> None:
        peer.outgoing += encode(message)
        self._flush(peer)

    def _flush(self, peer: _Peer) -> None:
        try:
            while peer.outgoing:
                sent = peer.socket.send(peer.outgoing)
                del peer.outgoing[:sent]
        except BlockingIOError:
            if len(peer.outgoing) > _UNSENT_BYTES:
                self._gone(peer)
                return
        except OSError:
            self._gone(peer)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.outgoing else 0)
        if self._selector.get_key(peer.socket).events != events:
            self._selector.modify(peer.socket, events, peer)

    def _gone(self, peer: _Peer) -> None:
        """The other side has hung up, or does not read."""
        self._drop(peer)
        if peer.rank is not None and self._members.get(peer.rank) is peer:
            del self._members[peer.rank]
            self._order(self._state.lost(peer.rank, time.monotonic(), "its supervisor is gone"))

    def _refuse(self, peer: _Peer, why: str) -> None:
        self._count(f"a connection {why}: closed", peer.address)
        self._gone(peer)

    def _drop(self, peer: _Peer) -> None:
        if peer in self._strangers or peer in self._proven:
            self._strangers.pop(peer, None)
            self._proven.discard(peer)
            self._selector.unregister(peer.socket)
            peer.socket.close()

    def _count(self, what: str, address: str) -> None:
        """Logs the 1st, 10th, 100th ... time: a flood must not fill the log."""
        self._refused[what] = count = self._refused.get(what, 0) + 1
        if str(count).strip("0") == "1":
            self._log(f"{what}{f' (from {address})' if address else ''}{f', {count} times' if count > 1 else ''}")

    # ---- the group

    def _order(self, actions: list[Action]) -> None:
        for action in actions:
            what = action.message
            self._log(f"{what['do']} -> {self._name(action.rank)} {what.get('generation', what.get('reason', ''))}")
            if (peer := self._members.get(action.rank)) is not None:
                self._post(peer, what)

    def _name(self, rank: int) -> str:
        return self._state.names[rank] if rank < len(self._state.names) else f"member {rank}"

    def _handle(self, peer: _Peer, value: dict[str, Any]) -> list[Action]:
        now, message = time.monotonic(), member_message(value)
        if isinstance(message, Join):
            return self._join(peer, message, now)
        rank = peer.rank
        if rank is None or self._members.get(rank) is not peer:
            return []
        if isinstance(message, Exited):
            self._log(f"{self._name(rank)} ended with {message.code}: {message.reason}")
            return self._state.exited(rank, message.generation, message.code, message.reason, now)
        if isinstance(message, Leave):
            del self._members[rank]
            self._log(f"{self._name(rank)} leaves: {message.reason}")
            return self._state.lost(rank, now, message.reason, penalty=False)
        return self._state.beat(rank, now, message.step, message.committed)

    def _join(self, peer: _Peer, message: Join, now: float) -> list[Action]:
        rank, size = message.rank, self._state.num_members
        if message.run_id != self._run_id or message.size != size or rank >= size:
            # It knows the secret, so it may know the reason.
            why = (
                f"this group is run {self._run_id!r} of {size}, you are {rank} of {message.size} in {message.run_id!r}"
            )
            self._post(peer, {"do": "failed", "reason": why, "code": 2})
            return []
        if peer.rank not in (None, rank):
            # With two seats, only one of them would be seen to be empty when the connection ends.
            raise BadMessage(f"a join as {rank} after one as {peer.rank}")
        before = self._members.get(rank)
        actions: list[Action] = []
        if before is not None and before is not peer:
            self._drop(before)
            actions += self._state.lost(rank, now, "its supervisor was started again")
        self._members[rank] = peer
        peer.rank = rank
        return actions + self._state.joined(rank, message.generation, now)


def _listen(host: str, port: int) -> socket.socket:
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            # Not an address of this machine but of a translation in front of it.
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
    return socket.create_server(("", port), backlog=_BACKLOG)
