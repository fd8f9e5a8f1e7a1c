"""Beam's runners for Flink and Spark as Fullpass uses them: one job server for all passes of a process, and no port for strangers.

Beam starts a Java job server for every Flink pipeline and stops them all only when the process ends: a pipeline of ten passes
would hold ten of them, and wait ten times for one to start. Beam keeps Spark's; this does the same for both.

A job server with Flink or Spark inside listens on a dozen ports of all interfaces, over which functions and data travel.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Mapping
from typing import Any

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    SparkRunnerOptions,
)
from apache_beam.runners.portability import flink_runner, job_server, spark_runner

from engine.machine.own_ports import own_ports_env
from transforms.runners.beam.loopback_workers import LoopbackWorkers

__all__ = ["RUNNING", "SHARED_RUNNERS", "SharedFlinkRunner", "SharedSparkRunner", "stop_job_servers"]

RUNNING: dict[tuple[str, str], _JobServer] = {}  # of this process, by what is inside and by its options
_lock = threading.Lock()
_LOCAL_SPARK = re.compile(r"local(\[.*\])?$")


class SharedFlinkRunner(LoopbackWorkers, flink_runner.FlinkRunner):
    """Beam's Flink runner, with one job server for each set of options that a job server takes."""

    def default_job_server(self, options: PipelineOptions) -> job_server.JobServer:
        """Returns the job server for the options: one that runs, or one to be started."""
        usual = super().default_job_server(options)  # also writes the master's full address into the options
        if not isinstance(usual, job_server.StopOnExitJobServer):
            return usual
        flink = options.view_as(FlinkRunnerOptions)
        inside = flink.flink_master in flink_runner.MAGIC_HOST_NAMES
        key = f"{flink} {options.view_as(JobServerOptions)}"
        return _shared(("flink", key), _FlinkJar(options), inside)


class SharedSparkRunner(LoopbackWorkers, spark_runner.SparkRunner):
    """Beam's Spark runner, with one job server for each set of options that a job server takes."""

    def default_job_server(self, options: PipelineOptions) -> job_server.JobServer:
        """Returns the job server for the options: one that runs, or one to be started."""
        spark = options.view_as(SparkRunnerOptions)
        if spark.spark_submit_uber_jar:
            return super().default_job_server(options)
        # With a master elsewhere the job server is the driver, to which executors of other machines connect.
        inside = _LOCAL_SPARK.match(spark.spark_master_url or "") is not None
        return _shared(("spark", f"{spark} {options.view_as(JobServerOptions)}"), _SparkJar(options), inside)


SHARED_RUNNERS = {"flink": SharedFlinkRunner, "spark": SharedSparkRunner}


def stop_job_servers(kind: str) -> None:
    """Stops those of this process for one runner: after a failure nobody knows whether they still work.

    Args:
        kind: "flink" or "spark".
    """
    with _lock:
        servers = [RUNNING.pop(key) for key in [*RUNNING] if key[0] == kind]
    for server in servers:
        _stop(server)


def _shared(key: tuple[str, str], jar: _Jar, inside: bool) -> _JobServer:
    """Returns the running job server of that key, or one to be started from the jar, with Flink or Spark `inside` or elsewhere."""
    with _lock:
        server = RUNNING.get(key)
        if server is not None and not server.answers():  # Beam would wait for it until its time-out
            _stop(RUNNING.pop(key))
        jar.inside = inside
        return RUNNING.setdefault(key, _JobServer(jar))


def _stop(server: job_server.JobServer) -> None:
    with contextlib.suppress(Exception):  # it may be what died
        server.stop()


class _Jar(job_server.JavaJarJobServer):
    endpoint: str | None = None
    inside = False
    variables: Mapping[str, str] = {}

    def subprocess_cmd_and_endpoint(self) -> tuple[list[Any], str]:
        command, self.endpoint = super().subprocess_cmd_and_endpoint()
        if self.inside:
            own = {**self.variables, **own_ports_env(None, os.environ, "Beam's job server")}
            # Beam takes no environment for the process; `env` becomes the program.
            command = ["env", *(f"{name}={value}" for name, value in own.items()), *command] if own else command
        return command, self.endpoint


class _FlinkJar(_Jar, flink_runner.FlinkJarJobServer):
    pass


class _SparkJar(_Jar, spark_runner.SparkJarJobServer):
    variables: Mapping[str, str] = {"SPARK_LOCAL_IP": "127.0.0.1"}  # or its driver takes the machine's own address


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
