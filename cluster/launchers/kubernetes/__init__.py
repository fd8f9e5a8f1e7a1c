"""Jobs on Kubernetes, in several kinds."""

from cluster.launchers.kubernetes.launcher import KubernetesLauncher

__all__ = ["KubernetesLauncher"]
