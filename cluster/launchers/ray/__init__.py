"""Jobs on Ray: one actor a member inside a placement group, a coordinator on the head node that outlives who submitted."""

from cluster.launchers.ray.launcher import RayLauncher

__all__ = ["RayLauncher"]
