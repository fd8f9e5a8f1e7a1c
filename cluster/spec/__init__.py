"""What runs: a job's description, checked when built."""

from cluster.spec.job_spec import JobSpec
from cluster.spec.resources import Resources
from cluster.spec.scheduling import Toleration
from cluster.spec.volumes import SecretEnv, Volume

__all__ = ["JobSpec", "Resources", "SecretEnv", "Toleration", "Volume"]
