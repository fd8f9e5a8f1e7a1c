"""The supervisor of one worker: it starts, watches, kills and restarts its training process together with the group.

It has no TensorFlow in it, so it starts in no time and keeps answering whatever the training does.
"""

from __future__ import annotations

import ipaddress
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.core.environment import GENERATION
from engine.core.exit_codes import PREEMPTED
from engine.core.run_log import print_line
from trainers.rendezvous.group_state import GroupPolicy, GroupState
from trainers.rendezvous.handshake import NoWelcome, connect
from trainers.rendezvous.json_lines import BadMessage, LineConnection
from trainers.rendezvous.messages import order
from trainers.rendezvous.rendezvous import Rendezvous
from trainers.supervision.failure_line import failure_line
from trainers.supervision.tf_config import TASK_TYPES, Task
from trainers.supervision.training_process import Child

__all__ = ["SupervisorConfig", "supervise"]

_BEAT_S = 1.0
_POLL_S = 0.1  # how late events without a message are seen, such as the silence of a peer
_RECONNECT_S = 0.2  # members may start before the one that the rendezvous is on
_CONNECT_TIMEOUT_S = 5.0
# A throttled machine traces for long with hardly a turn for the heartbeat's thread.
_SILENT_WHILE_STARTING_S = 60.0
_FAILED_IMPORTS = 3  # a busy file system gets over it, an environment without a package does not


@dataclass(frozen=True, kw_only=True)
class SupervisorConfig:
    """What one supervisor needs to know.

    Args:
        target: what the training process runs, see `run_target`.
        task: place in the cluster; rank 0's supervisor serves the rendezvous.
        rendezvous: "host:port" where the supervisors meet.
        run_id: equal in all members of a group.
        secret: of the group: at least 128 random bits that nobody else knows.
        policy: patience.
        log: file for the output of the training process, None for this process's own.
        grace_s: seconds the training process has to save after SIGTERM.
        while_stdin: standard input is held open by whoever started this; when it closes, save and stop.
        preload: modules imported before they are needed.
    """

    target: list[str]
    task: Task
    rendezvous: tuple[str, int]
    secret: bytes = field(repr=False)
    run_id: str = ""
    policy: GroupPolicy = field(default_factory=GroupPolicy)
    log: str | None = None
    grace_s: float = 25.0
    while_stdin: bool = False
    preload: tuple[str, ...] = (
        "tensorflow", "keras", "trainers.loop.trainer", "engine.dataset.arrays", "trainers.models.adapters.keras3",
        "trainers.strategies.multi_worker_mirrored", "engine.dataset.dataset", "engine.feed",
    )  # fmt: skip


def supervise(config: SupervisorConfig) -> int:
    """Runs a worker to the end of its group; returns 0 done, 143 preempted, 2 wrong input, 4 an error in the program, 1 given up."""
    return _Supervisor(config).run()


class _Supervisor:
    def __init__(self, config: SupervisorConfig) -> None:
        self._config, self._task = config, config.task
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._child = Child(config.target, config.log, self._events, list(config.preload))
        self._line: LineConnection | None = None
        self._generation = 0
        self._preempted_at: float | None = None
        self._joined = False
        self._disconnected_at = self._looked_at = self._server_heard_at = time.monotonic()
        self._no_welcome = ""
        self._exit: int | None = None
        # By table: a kind of event is never a name that somebody else chose.
        self._handlers: dict[str, Callable[[Any], None]] = {
            "hangup": self._on_hangup,
            "order": self._on_order,
            "standby": self._on_standby,
            "standby-gone": self._on_standby_gone,
            "child": self._on_child,
            "preempt": self._on_preempt,
        }

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._events.put(("preempt", None)))
        if self._config.while_stdin:
            threading.Thread(target=self._until_stdin_closes, daemon=True).start()
        server = self._serve() if self._task.rank == 0 else None
        self._child.prepare()
        try:
            last_beat = 0.0
            while self._exit is None:
                if self._line is None:
                    self._connect()
                try:
                    kind, value = self._events.get(timeout=_POLL_S)
                    self._handlers[kind](value)
                except queue.Empty:
                    pass
                self._watch()
                self._watch_rendezvous(server)
                if time.monotonic() - last_beat >= _BEAT_S:
                    last_beat = time.monotonic()
                    self._send({"is": "beat"})
            return self._exit
        finally:
            self._child.close()
            if self._line is not None:
                self._line.close()
            if server is not None:
                server.close()

    def _until_stdin_closes(self) -> None:
        while os.read(0, 4096):
            pass
        self._events.put(("preempt", None))

    def _serve(self) -> Rendezvous:
        names = tuple(f"{kind} {i}" for kind in TASK_TYPES for i in range(len(self._task.cluster.get(kind, ())))) or (
            "worker 0",
        )
        asynchronous = bool(self._task.cluster.get("ps"))
        first = len(self._task.cluster.get("chief", ()))
        workers = range(first, first + len(self._task.cluster.get("worker", ())))
        state = GroupState(
            num_members=self._task.num_tasks,
            policy=self._config.policy,
            independent=frozenset(workers) if asynchronous else frozenset(),
            leaders={0} if asynchronous else (),
            names=names,
            now=time.monotonic(),
        )
        host, port = self._config.rendezvous
        config = self._config
        return Rendezvous(_interface(host), port, state, config.run_id, config.secret, self._say)

    def _say(self, text: str) -> None:
        print_line(f"{time.strftime('%H:%M:%S')} supervisor {self._task.type} {self._task.index}: {text}", sys.stderr)

    def _connect(self) -> None:
        patience = self._config.policy.rejoin_timeout_s
        if time.monotonic() - self._disconnected_at > patience:
            host, port = self._config.rendezvous
            self._say(f"no rendezvous at {host}:{port} for {patience:.0f} s ({self._no_welcome}): given up")
            self._exit = 1
            return
        try:
            connection = connect(self._config.rendezvous, self._config.secret, _CONNECT_TIMEOUT_S)
        except NoWelcome as error:
            if str(error) != self._no_welcome:
                self._no_welcome = str(error)
                self._say(f"no rendezvous yet at {':'.join(map(str, self._config.rendezvous))}: {error}")
            time.sleep(_RECONNECT_S)
            return
        line = LineConnection(
            connection, lambda m: self._events.put(("order", m)), lambda: self._events.put(("hangup", line))
        )
        self._line, self._server_heard_at = line, time.monotonic()
        line.start()
        self._join()

    def _send(self, message: dict[str, Any]) -> None:
        if self._line is not None:
            self._line.send(message)

    def _join(self) -> None:
        # Not before the imports are done: the others, who would start, would wait for this one in their collectives.
        if self._line is None or self._child.running or not self._child.ready or self._preempted_at is not None:
            return
        self._joined = True
        me = {"rank": self._task.rank, "size": self._task.num_tasks, "run_id": self._config.run_id}
        self._send({"is": "join", **me, "generation": self._generation})

    def _on_hangup(self, line: LineConnection) -> None:
        if line is not self._line:
            return
        self._line, self._joined = None, False
        # Without the rendezvous nobody knows whether the group still runs: this child must not go on alone.
        if self._child.running:
            self._child.kill("the rendezvous is gone")

    def _on_order(self, message: dict[str, Any]) -> None:
        self._server_heard_at, self._disconnected_at = time.monotonic(), time.monotonic()
        try:
            said = order(message)
        except BadMessage as error:
            self._say(f"the rendezvous sent {error}: connecting anew")
            if self._line is not None:
                self._line.close()
            return
        if said.do == "beat":
            pass
        elif said.do == "start":
            self._joined = False
            self._generation = said.generation
            env = {GENERATION.name: str(self._generation)}
            self._child.start(env)
        elif said.do == "stop":
            if self._child.running:
                self._child.kill(said.reason)
            elif not self._joined:
                self._join()
            # else: the child ended before this order came, and the group knows: a second join would be one too many.
        elif said.do == "done":
            self._exit = 0
        else:
            self._say(failure_line(said.reason))
            self._exit = said.code or 1

    def _on_standby(self, message: dict[str, Any]) -> None:
        self._ended(self._child.handle_standby(message))
        if "imported_s" in message:
            self._say(f"imports done after {message['imported_s']:.1f} s")
            self._join()

    def _on_standby_gone(self, which: Any) -> None:
        self._ended(self._child.standby_gone(which))
        if self._child.failed_imports >= _FAILED_IMPORTS:
            self._say(f"the imports failed {_FAILED_IMPORTS} times, see above: {', '.join(self._config.preload)}")
            self._exit = 1
        elif self._exit is None:
            self._child.prepare()

    def _ended(self, ending: tuple[int, str] | None) -> None:
        if ending is None:
            return
        code, reason = ending
        self._send({"is": "exited", "generation": self._generation, "code": code, "reason": reason})
        if code == 0:
            pass  # even when asked to stop: the group may be done, which is answered at once
        elif self._preempted_at is not None:
            self._leave()
        else:
            self._join()

    def _on_child(self, message: dict[str, Any]) -> None:
        self._child.said(message)
        if "step" in message or "committed" in message:
            known: dict[str, Any] = {key: message[key] for key in ("step", "committed") if key in message}
            self._send({"is": "beat", **known})
        if "phase" in message:
            at = f"at {message['at']:.3f}, {message['cpu_s']:.3f} s of processor time"
            self._say(f"phase {message['phase']} of generation {self._generation} {at}")

    def _on_preempt(self, _: None) -> None:
        if self._preempted_at is not None:
            return
        self._preempted_at = time.monotonic()
        self._say("asked to stop: the group saves first")
        if self._child.running and self._child.pid is not None:
            self._child.terminate()
        else:
            self._leave()

    def _leave(self) -> None:
        self._send({"is": "leave", "reason": "preempted"})
        self._exit = PREEMPTED

    def _watch(self) -> None:
        now, silence = time.monotonic(), self._config.policy.silent_after_s
        if not self._child.settled:
            silence = max(silence, _SILENT_WHILE_STARTING_S)
        if self._child.pid is not None and now - self._child.heard_at > silence:
            self._child.heard_at = now + 60.0
            self._child.kill(f"its process gave no sign of life for {silence:.0f} s")
        if self._preempted_at is not None and now - self._preempted_at > self._config.grace_s and self._exit is None:
            self._say(f"the training did not save within {self._config.grace_s:.0f} s")
            self._leave()

    def _watch_rendezvous(self, server: Rendezvous | None) -> None:
        """Ends where the own rendezvous has failed; hangs up where another's says nothing any more."""
        if server is not None and server.failure is not None and self._exit is None:
            self._say(f"its rendezvous has failed: {server.failure}")
            self._exit = 1
        now = time.monotonic()
        # A machine that was suspended has heard nobody: that time is not the rendezvous's.
        if now - self._looked_at > _BEAT_S:
            self._server_heard_at += now - self._looked_at
        self._looked_at = now
        silence = self._config.policy.silent_after_s
        if self._line is not None and now - self._server_heard_at > silence:
            self._server_heard_at = now
            self._no_welcome = f"it said nothing for {silence:.0f} s"
            self._say(f"the rendezvous has said nothing for {silence:.0f} s: connecting anew")
            self._line.close()


def _interface(host: str) -> str:
    """Returns the address to listen on: the very one that the members connect to, all of them where that is a name."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:  # a pod's name: its address may be another after a restart
        return ""
