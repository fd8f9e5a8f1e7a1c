"""Flink: embedded in a job server on this machine, or a cluster given by its address."""

from __future__ import annotations

from collections.abc import Sequence

from engine.machine.processes import processors
from transforms.runners.beam.job_server_runner import JobServerRunner
from transforms.runners.beam.runner import option_value

__all__ = ["FlinkRunner"]


class FlinkRunner(JobServerRunner):
    """Runs passes on Flink through Beam's portable runner.

    Args:
        options: Beam's; those that matter: "--flink_master=HOST:PORT" (left out: a Flink that lives as long as the
            job, in this machine), "--flink_job_server_jar=JAR" (left out: Beam fetches its own), "--parallelism=N",
            "--environment_type" and "--environment_config" (how workers start; embedded: in this process),
            "--work_dir=DIR" (shared by this process and all workers; embedded: left out).
    """

    name, beam_name = "flink", "FlinkRunner"

    def default_options(self, options: Sequence[str]) -> list[str]:
        """Returns options for what the user left open."""
        defaults = [
            f"--runner={self.beam_name}",
            "--flink_version=1.19",
            # Without it Flink starts a Python worker for each stage, and each imports TensorFlow.
            "--environment_cache_millis=300000",
            "--job_server_timeout=300",
        ]
        if option_value(options, "flink_master") is None:
            defaults.append(f"--parallelism={processors()}")
        return defaults
