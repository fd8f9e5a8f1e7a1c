"""What Flink and Spark have in common: a Java job server between Beam and them, shared by all passes of this process."""

from __future__ import annotations

from typing import Any

from transforms.runners.beam.runner import BeamRunner, option_value

__all__ = ["JobServerRunner"]


class JobServerRunner(BeamRunner):
    """Runs passes through a job server; `beam_name` is Beam's name of the runner, `name` that of its servers."""

    beam_name = ""

    def pipeline_runner(self) -> Any:
        """Returns Beam's runner with a job server that all passes of this process share, unless the options name another."""
        if option_value(self.options, "runner") != self.beam_name:
            return super().pipeline_runner()
        from transforms.runners.beam.job_servers import SHARED_RUNNERS

        return SHARED_RUNNERS[self.name]()

    def after_failure(self) -> None:
        """Stops the job servers: the next attempt gets a new one."""
        from transforms.runners.beam.job_servers import stop_job_servers

        stop_job_servers(self.name)
