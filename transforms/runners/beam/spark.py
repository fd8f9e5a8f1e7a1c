"""Spark: embedded in a job server on this machine, or a cluster given by its address."""

from __future__ import annotations

from collections.abc import Sequence

from engine.machine.processes import processors
from transforms.runners.beam.job_server_runner import JobServerRunner
from transforms.runners.beam.runner import option_value

__all__ = ["SparkRunner"]

_TASK_ATTEMPTS = 4  # what a Spark cluster does by default; embedded Spark would give up at the first


class SparkRunner(JobServerRunner):
    """Runs passes on Spark through Beam's portable runner.

    Args:
        options: Beam's; those that matter: "--spark_master_url=spark://HOST:PORT" (left out: a Spark that lives as
            long as this process, on all its cores), "--spark_job_server_jar=JAR" (left out: Beam fetches its own),
            "--environment_type" and "--environment_config" (how workers start; embedded: in this process),
            "--work_dir=DIR" (shared by this process and all workers; embedded: left out).
    """

    name, beam_name = "spark", "SparkRunner"

    def default_options(self, options: Sequence[str]) -> list[str]:
        """Returns options for what the user left open."""
        defaults = [f"--runner={self.beam_name}", "--job_server_timeout=300"]
        master = option_value(options, "spark_master_url")
        if master is None:
            cores = processors()
            master = f"local[{cores},{_TASK_ATTEMPTS}]"
            defaults += [f"--spark_master_url={master}", f"--parallelism={cores}"]
        if master.startswith("local["):
            # Beam chooses this for local[N], but not for local[N,attempts].
            defaults.append("--environment_type=LOOPBACK")
        return defaults
