"""The coordinator: a detached actor on the head node that starts a job's members, replaces them and keeps their logs.

It runs on the head node because the head is the one node whose loss ends Ray itself: a job's record lives exactly as long as the
cluster. A lost actor or node changes addresses, so the whole group is made anew and training goes on at its last checkpoint; a
program that only crashed is started again in place.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from cluster.launchers.ray.group import Group, Lost, Slot
from cluster.launchers.status import JobState, JobStatus, TaskStatus
from cluster.spec import JobSpec
from engine.core.exit_codes import FAILED
from engine.machine.clock import utc_now
from trainers.supervision.failure_line import failure_in

__all__ = ["Coordinator"]

_POLL_S = 0.5
_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)


class _Failed(Exception):
    """The job is over and lost; the message says why."""


class Coordinator:
    """Runs one job to its end. Made into a detached Ray actor by the launcher.

    Args:
        spec_json: the job.
        placement: strategy of the placement group.
    """

    def __init__(self, spec_json: str, placement: str) -> None:
        self._spec = JobSpec.from_json(spec_json)
        self._placement = placement
        self._state, self._message = JobState.PENDING, ""
        self._submitted, self._finished = utc_now(), ""
        self._restarts = {f"{role}-{index}": 0 for role, index in self._spec.members()}
        self._group: Group | None = None
        self._cancelled = threading.Event()
        self._over = threading.Event()
        self._logs = self._log_directory()
        self._thread = threading.Thread(target=self._main, name="fullpass-job", daemon=True)
        self._thread.start()

    # ---- what the launcher asks

    def status(self) -> JobStatus:
        """Returns the job's state now."""
        return JobStatus(
            name=self._spec.name,
            launcher="ray",
            state=self._state,
            message=self._message,
            tasks=tuple(self._task(role, index) for role, index in self._spec.members()),
            submitted=self._submitted,
            finished=self._finished,
        )

    def read_log(self, member: str, offset: int, limit_bytes: int = 1 << 20) -> bytes:
        """Returns what a member wrote, from an offset on."""
        with open(self._logs / f"{member}.log", "rb") as file:
            file.seek(offset)
            return file.read(limit_bytes)

    def cancel(self) -> None:
        """Stops the job and returns when nothing of it runs any more."""
        self._cancelled.set()
        self._over.wait(self._spec.grace_s + 60)

    # ---- the job

    def _main(self) -> None:
        try:
            self._run()
            self._end(JobState.SUCCEEDED, "")
        except _Failed as error:
            cancelled = self._cancelled.is_set()
            self._end(JobState.CANCELLED if cancelled else JobState.FAILED, "" if cancelled else str(error))
        except BaseException as error:  # whatever it is, the job must not stay "running" for ever
            self._end(JobState.FAILED, f"the coordinator failed: {type(error).__name__}: {error}")
        self._over.set()
        self._expire()

    def _end(self, state: JobState, message: str) -> None:
        if self._group is not None:
            self._group.close(self._spec.grace_s if state is JobState.CANCELLED else 0)
        self._finished, self._message, self._state = utc_now(), message, state

    def _run(self) -> None:
        started = time.monotonic()
        while True:
            self._group = Group(self._spec, self._placement, secrets.token_hex(4))
            try:
                self._wait_for_room(started)
                self._group.start()
                self._state, self._message = JobState.RUNNING, ""
                while not all(slot.exit_code == 0 for slot in self._group.slots):
                    self._check_time(started)
                    self._step(self._group)
                    time.sleep(_POLL_S)
                return
            except Lost as error:
                self._replace_group(error)

    def _wait_for_room(self, started: float) -> None:
        assert self._group is not None
        while not self._group.placed(2.0):
            self._check_time(started)
            self._message = self._why_waiting()

    def _why_waiting(self) -> str:
        import ray

        wanted = " + ".join(
            ", ".join(f"{k} {v / 2**30:.1f}Gi" if k == "memory" else f"{k} {v:g}" for k, v in b.items())
            for b in self._group.placement_group.bundle_specs  # type: ignore[union-attr]
        )
        free = {k: v for k, v in ray.available_resources().items() if k in ("CPU", "GPU", "TPU", "memory")}
        have = ", ".join(f"{k} {v / 2**30:.1f}Gi" if k == "memory" else f"{k} {v:g}" for k, v in sorted(free.items()))
        return f"waits for room ({self._placement}): wanted are {wanted}; free in the cluster are {have or 'none'}"

    def _step(self, group: Group) -> None:
        texts, lost = group.poll()
        for name, text in texts.items():
            if text:
                with open(self._logs / f"{name}.log", "ab") as file:
                    file.write(text)
        if lost is not None:
            raise lost
        for slot in group.slots:
            if slot.exit_code not in (None, 0):
                self._program_failed(group, slot)

    def _program_failed(self, group: Group, slot: Slot) -> None:
        code = slot.exit_code or 0
        what = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        # All supervisors of a group end when one member fails: the reason is that member's, not the one seen first.
        why = failure_in(self._log_text(slot.name))
        reason = why or f"{slot.name} ended with {what}; its last lines:\n{self._last_lines(slot.name)}"
        if (
            code in self._spec.final_exit_codes and code != FAILED
        ):  # a supervisor whose peers are gone has given up: they are brought back here
            raise _Failed(reason)
        self._count(slot.name, reason)
        group.restart(slot)
        self._state, self._message = JobState.RUNNING, ""

    def _replace_group(self, lost: Lost) -> None:
        assert self._group is not None
        self._group.close(0)
        for name in [n for n in lost.reasons if n in self._restarts] or list(self._restarts)[:1]:
            self._count(name, f"lost {lost}")

    def _count(self, name: str, reason: str) -> None:
        self._restarts[name] += 1
        if self._restarts[name] > self._spec.max_restarts:
            raise _Failed(f"{self._spec.max_restarts} restarts of {name} did not help: {reason}")
        self._state, self._message = JobState.RESTARTING, reason
        pause = _BACKOFF_S[min(self._restarts[name], len(_BACKOFF_S)) - 1]
        if self._cancelled.wait(pause):
            raise _Failed("cancelled")

    def _check_time(self, started: float) -> None:
        if self._cancelled.is_set():
            raise _Failed("cancelled")
        limit = self._spec.timeout_s
        if limit is not None and time.monotonic() - started > limit:
            raise _Failed(f"deadline: it did not finish within timeout_s = {limit}")

    # ---- records

    def _task(self, role: str, index: int) -> TaskStatus:
        name = f"{role}-{index}"
        slot = next((s for s in self._group.slots if s.name == name), None) if self._group else None
        state = self._state
        if slot is not None and slot.exit_code is not None:
            state = JobState.SUCCEEDED if slot.exit_code == 0 else JobState.FAILED
        where = (
            f"{slot.where['host']} pid {slot.where['pid']} node {slot.where['node'][:8]}" if slot and slot.where else ""
        )
        return TaskStatus(role=role, index=index, state=state, restarts=self._restarts[name], where=where)

    def _last_lines(self, name: str, count: int = 10) -> str:
        return "\n".join(self._log_text(name).splitlines()[-count:])

    def _log_text(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_bytes().decode(errors="replace")

    def _log_directory(self) -> Path:
        import ray

        # Ray has no call for its session's directory, where its own logs are: it is named after the session.
        here = ray.get_runtime_context()
        session = Path(str(here.get_temp_dir())) / str(here.get_session_name())
        directory = session / "logs" / "fullpass" / f"{self._spec.name}-{os.getpid()}"
        directory.mkdir(mode=0o700, parents=True)  # Ray has its own for everybody to read
        for name in self._restarts:
            (directory / f"{name}.log").touch()
        return directory

    def _expire(self) -> None:
        """Keeps the record for `keep_s` seconds, then ends this actor."""
        if self._spec.keep_s is None:
            return
        time.sleep(self._spec.keep_s)
        with contextlib.suppress(Exception):
            import ray

            ray.kill(self.myself())

    def myself(self) -> Any:
        """Returns this actor's handle."""
        import ray

        return ray.get_runtime_context().current_actor
