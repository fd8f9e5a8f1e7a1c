"""A pod's volumes and where it mounts them."""

from __future__ import annotations

from cluster.launchers.kubernetes.objects import Object, config_name
from cluster.spec import JobSpec, Volume
from cluster.spec.job_spec import FILES_MOUNT

__all__ = ["SECRET_MODE", "volumes_of"]

# Read by its owner and by fsGroup, which is the pod's user: the kubelet mounts Secrets as root.
SECRET_MODE = 0o440


def volumes_of(spec: JobSpec, role: str, mount_files: bool) -> tuple[list[Object], list[Object]]:
    """Returns the volumes of a role's pods, and their mounts in the main container."""
    volumes: list[Object] = []
    mounts: list[Object] = []
    for number, volume in enumerate(spec.volumes):
        name = f"volume-{number}"
        volumes.append({"name": name, **_source(volume)})
        mount: Object = {"name": name, "mountPath": volume.mount_path}
        if volume.read_only:
            mount["readOnly"] = True
        if volume.sub_path:
            mount["subPath"] = volume.sub_path
        mounts.append(mount)
    if mount_files:
        volumes.append({"name": "files", "configMap": {"name": config_name(spec)}})
        mounts.append({"name": "files", "mountPath": FILES_MOUNT, "readOnly": True})
    if not any(volume.mount_path.rstrip("/") == "/tmp" for volume in spec.volumes):
        # No more than the pod may write in all: the pod is evicted for it, not its neighbours for lack of room.
        volumes.append({"name": "tmp", "emptyDir": {"sizeLimit": spec.resources_of(role).ephemeral_storage}})
        mounts.append({"name": "tmp", "mountPath": "/tmp"})
    return volumes, mounts


def _source(volume: Volume) -> Object:
    if volume.claim:
        return {"persistentVolumeClaim": {"claimName": volume.claim}}
    if volume.host_path:
        return {"hostPath": {"path": volume.host_path}}
    if volume.secret:
        return {"secret": {"secretName": volume.secret, "defaultMode": SECRET_MODE}}
    if volume.config_map:
        return {"configMap": {"name": volume.config_map}}
    if volume.projected:
        return {"projected": {"sources": [dict(item) for item in volume.projected], "defaultMode": SECRET_MODE}}
    if volume.csi_driver:
        csi: Object = {"driver": volume.csi_driver, "readOnly": volume.read_only}
        return {"csi": {**csi, **({"volumeAttributes": dict(volume.csi)} if volume.csi else {})}}
    fields = {"medium": volume.medium, "sizeLimit": volume.size}
    return {"emptyDir": {key: value for key, value in fields.items() if value}}
