"""The process that stays with a local job: `python -m cluster.launchers.local.runner FOLDER`."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from pathlib import Path

from cluster.launchers.local.process import Member
from cluster.launchers.local.record import log_path, member_words, secret_path, write_status
from cluster.launchers.status import JobState, JobStatus
from cluster.spec import JobSpec
from engine.machine.clock import utc_now
from engine.machine.logged_process import LoggedProcess, stop_all

__all__ = ["Runner"]

_LOOK_S = 0.2


class Runner:
    """Starts the members of a job, looks after them, and writes the job's state.

    Args:
        folder: of the job; holds job.json.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spec = JobSpec.from_json((folder / "job.json").read_text())
        self._submitted = utc_now()
        self._cancelled = False
        self._members = self._make_members()
        self._written: tuple[object, ...] | None = None

    def cancel(self, *_: object) -> None:
        """Makes `run` stop all members and end."""
        self._cancelled = True

    def run(self) -> JobState:
        """Returns the final state, after all members have ended."""
        deadline = None if self._spec.timeout_s is None else time.monotonic() + self._spec.timeout_s
        for member in self._members:
            member.start()
        while True:
            for member in self._members:
                member.look()
            state, message = self._judge()
            if self._cancelled:
                state, message = JobState.CANCELLED, ""
            elif deadline is not None and time.monotonic() > deadline and not state.finished:
                state, message = (
                    JobState.FAILED,
                    f"deadline exceeded: it ran for timeout_s = {self._spec.timeout_s} seconds",
                )
            if state.finished:
                self._stop()
                self._write(state, message)
                return state
            self._write(state, message)
            time.sleep(_LOOK_S)

    def _judge(self) -> tuple[JobState, str]:
        # Parameter servers and the evaluator end when training does.
        trainers = [member for member in self._members if member.role in ("chief", "worker")]
        for member in self._members:
            if member.state is JobState.FAILED:
                return JobState.FAILED, f"{member.role}-{member.index}: {member.message}"
        if all(member.state is JobState.SUCCEEDED for member in trainers):
            return JobState.SUCCEEDED, ""
        if any(member.state is JobState.RESTARTING for member in self._members):
            return JobState.RESTARTING, ""
        return JobState.RUNNING, ""

    def _stop(self) -> None:
        stop_all([member.process for member in self._members], self._spec.grace_s)
        for member in self._members:
            member.end()

    def _write(self, state: JobState, message: str) -> None:
        tasks = tuple(member.status() for member in self._members)
        if (state, message, tasks) == self._written:
            return
        self._written = (state, message, tasks)
        status = JobStatus(
            name=self._spec.name,
            launcher="local",
            state=state,
            message=message,
            tasks=tasks,
            submitted=self._submitted,
            finished=utc_now() if state.finished else "",
        )
        marks = [member.mark() for member in self._members]
        write_status(self._folder, status, [mark for mark in marks if mark])

    def _make_members(self) -> list[Member]:
        from trainers.supervision.local_cluster import LocalCluster

        spec = self._spec
        run_id = f"{spec.name}-{secrets.token_hex(4)}"
        cluster = LocalCluster(spec.roles, run_id, secret_path(self._folder))
        cluster.write_secret()
        words = member_words(spec, self._folder)
        environ = {**os.environ, **spec.env, "PYTHONUNBUFFERED": "1"}
        if spec.files:
            before = filter(None, [environ.get("PYTHONPATH")])
            environ["PYTHONPATH"] = os.pathsep.join([str(self._folder / "files"), *before])
        out = []
        for role, index in spec.members():
            env = cluster.environment((role, index), environ)
            process = LoggedProcess(words, log_path(self._folder, role, index), env, cwd=spec.working_dir)
            out.append(Member(role, index, process, words[0], spec.max_restarts, spec.final_exit_codes))
        return out


if __name__ == "__main__":
    runner = Runner(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, runner.cancel)
    sys.exit(0 if runner.run() is JobState.SUCCEEDED else 1)
