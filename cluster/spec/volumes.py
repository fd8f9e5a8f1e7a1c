"""Directories and secrets that pods see."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.spec.names import check_env_name, check_object_name
from cluster.spec.quantity import parse_quantity
from engine.core.errors import ConfigError

__all__ = ["SecretEnv", "Volume"]

_SOURCES = ("claim", "host_path", "secret", "config_map", "projected", "csi_driver", "empty_dir")
_PROJECTED = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle")


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A directory in each pod, from exactly one source: a claim, the node, a Secret, a ConfigMap, several, a driver, nothing.

    Attributes:
        mount_path: absolute path in the pod.
        claim: name of a PersistentVolumeClaim. Workers on several nodes need one that is ReadWriteMany.
        host_path: directory of the node.
        secret: name of a Secret, a file for each of its keys.
        config_map: name of a ConfigMap, a file for each of its keys.
        projected: sources of a projected volume as Kubernetes writes them, e.g. ({"serviceAccountToken": {...}},).
        csi_driver: name of a CSI driver whose volume lives as long as the pod.
        csi: attributes for that driver.
        empty_dir: an empty directory that lives as long as the pod.
        medium: "Memory" makes an empty directory a tmpfs, counted in the pod's memory.
        size: limit of an empty directory, e.g. "1Gi".
        sub_path: directory within the claim to mount in place of its root.
        read_only: pods cannot write to it.

    Raises:
        ConfigError: none or several sources, or a path that is not absolute.
    """

    mount_path: str
    claim: str | None = None
    host_path: str | None = None
    secret: str | None = None
    config_map: str | None = None
    projected: tuple[Mapping[str, Any], ...] = ()
    csi_driver: str | None = None
    csi: Mapping[str, str] = field(default_factory=dict)
    empty_dir: bool = False
    medium: str = ""
    size: str | None = None
    sub_path: str | None = None
    read_only: bool = False

    def __post_init__(self) -> None:
        where = f"volume at {self.mount_path!r}"
        if not str(self.mount_path).startswith("/") or ":" in self.mount_path or self.mount_path == "/":
            raise ConfigError(f"{where}: mount_path must be an absolute path below '/', without ':'")
        if posixpath.normpath(self.mount_path) != self.mount_path.rstrip("/"):
            raise ConfigError(f"{where}: write the path without '.', '..' or '//'")
        object.__setattr__(self, "projected", tuple(self.projected))
        object.__setattr__(self, "csi", dict(self.csi))
        sources = [key for key in _SOURCES if getattr(self, key)]
        if len(sources) != 1:
            raise ConfigError(
                f"{where}: give exactly one of {', '.join(_SOURCES)}; seen {', '.join(sources) or 'none'}"
            )
        for key in ("claim", "secret", "config_map", "csi_driver"):
            if getattr(self, key):
                check_object_name(getattr(self, key), f"{where}: {key}")
        if self.csi and not self.csi_driver:
            raise ConfigError(f"{where}: csi belongs to csi_driver")
        for item in self.projected:
            if not isinstance(item, Mapping) or len(item) != 1 or next(iter(item)) not in _PROJECTED:
                raise ConfigError(
                    f"{where}: projected source {item!r}: expected an object with one of {', '.join(_PROJECTED)}"
                )
        if self.host_path and not self.host_path.startswith("/"):
            raise ConfigError(f"{where}: host_path: got {self.host_path!r}; expected an absolute path")
        if self.medium not in ("", "Memory"):
            raise ConfigError(f"{where}: medium: got {self.medium!r}; expected '' or 'Memory'")
        if (self.medium or self.size) and not self.empty_dir:
            raise ConfigError(f"{where}: medium and size belong to empty_dir")
        if self.medium == "Memory" and not self.size:
            raise ConfigError(f"{where}: a volume in memory needs a size, since it counts in the pod's memory")
        if self.size and parse_quantity(self.size, f"{where}: size") <= 0:
            raise ConfigError(f"{where}: size: got {self.size!r}; expected more than 0")
        if self.sub_path and (self.sub_path.startswith("/") or ".." in self.sub_path.split("/")):
            raise ConfigError(f"{where}: sub_path: got {self.sub_path!r}; expected a relative path without '..'")

    @property
    def memory_bytes(self) -> int:
        """Bytes that it can take of the pod's memory."""
        return int(parse_quantity(self.size, "size")) if self.medium == "Memory" and self.size else 0


@dataclass(frozen=True, kw_only=True)
class SecretEnv:
    """An environment variable whose value stays in a Kubernetes Secret and never enters a job's description.

    Attributes:
        name: the variable.
        secret: name of the Secret.
        key: key within it.
    """

    name: str
    secret: str
    key: str

    def __post_init__(self) -> None:
        check_env_name(self.name, "secrets")
        check_object_name(self.secret, f"secrets: secret of {self.name}")
        if not self.key or not all(c.isalnum() or c in "-_." for c in self.key):
            raise ConfigError(f"secrets: key {self.key!r} of {self.secret} must be of letters, digits, '-', '_', '.'")
