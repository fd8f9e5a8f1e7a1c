"""Jobs as supervised processes of this machine."""

from cluster.launchers.local.launcher import LocalLauncher

__all__ = ["LocalLauncher"]
