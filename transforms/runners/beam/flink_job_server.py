"""One Flink job server for all passes of a process.

Beam starts a Java job server for every Flink pipeline and stops them all only when the process ends: a pipeline of ten passes
would hold ten of them, and wait ten times for one to start. Beam keeps Spark's; this does the same for Flink's.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from apache_beam.options.pipeline_options import FlinkRunnerOptions, JobServerOptions, PipelineOptions
from apache_beam.runners.portability import flink_runner, job_server

__all__ = ["SharedFlinkRunner", "stop_job_servers"]

_servers: dict[str, _JobServer] = {}
_lock = threading.Lock()


class SharedFlinkRunner(flink_runner.FlinkRunner):
    """Beam's Flink runner, with one job server for each set of options that a job server takes."""

    def default_job_server(self, options: PipelineOptions) -> job_server.JobServer:
        """Returns the job server for the options: one that runs, or one to be started."""
        usual = super().default_job_server(options)  # also writes the master's full address into the options
        if not isinstance(usual, job_server.StopOnExitJobServer):
            return usual
        key = f"{options.view_as(FlinkRunnerOptions)} {options.view_as(JobServerOptions)}"
        with _lock:
            server = _servers.get(key)
            if server is not None and not server.answers():  # Beam would wait for it until its time-out
                _stop(_servers.pop(key))
            return _servers.setdefault(key, _JobServer(_Jar(options)))


def stop_job_servers() -> None:
    """Stops those of this process: after a failure nobody knows whether they still work."""
    with _lock:
        servers = [*_servers.values()]
        _servers.clear()
    for server in servers:
        _stop(server)


def _stop(server: job_server.JobServer) -> None:
    with contextlib.suppress(Exception):  # it may be what died
        server.stop()


class _Jar(flink_runner.FlinkJarJobServer):
    endpoint: str | None = None

    def subprocess_cmd_and_endpoint(self) -> tuple[list[Any], str]:
        command, self.endpoint = super().subprocess_cmd_and_endpoint()
        return command, self.endpoint


class _JobServer(job_server.StopOnExitJobServer):
    def __init__(self, jar: _Jar) -> None:
        super().__init__(jar)
        self._jar = jar

    def answers(self) -> bool:
        """Returns whether it takes connections, or was not started yet."""
        if self._jar.endpoint is None:
            return True
        host, _, port = self._jar.endpoint.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError:
            return False
        return True
