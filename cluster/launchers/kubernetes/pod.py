"""The pod template of a job: what every kind puts in its own place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.spec import JobSpec, Resources, Volume
from cluster.spec.job_spec import FILES_MOUNT, ROLES

__all__ = ["INDEX", "PORTS", "config_map", "config_name", "labels", "metadata", "pod_template", "tf_config_env"]

Object = dict[str, Any]

# TensorFlow's servers, and the rendezvous of the supervisors, one port above.
PORTS = {"tensorflow": 2222, "rendezvous": 2223}
INDEX = "FULLPASS_INDEX"
_IMAGE_GROUP = 10001  # of k8s/Dockerfile
_GKE = "cloud.google.com/gke-tpu-"


def labels(spec: JobSpec, role: str | None = None) -> dict[str, str]:
    """Returns the labels of a job's objects, or of the pods of a role."""
    own = {"app.kubernetes.io/managed-by": "fullpass", "fullpass/job": spec.name}
    return {**spec.labels, **own, **({"fullpass/role": role} if role else {})}


def metadata(spec: JobSpec, name: str | None = None) -> Object:
    """Returns the metadata of an object, with Kueue's label where the job goes through a queue."""
    queue = {"kueue.x-k8s.io/queue-name": spec.queue} if spec.queue else {}
    return {"name": name or spec.name, "labels": {**labels(spec), **queue}}


def config_name(spec: JobSpec) -> str:
    """Returns the name of the ConfigMap that holds the job's files."""
    return f"{spec.name}-files"


def config_map(spec: JobSpec, more: Mapping[str, str] | None = None) -> list[Object]:
    """Returns the ConfigMap of the job's files, or nothing where it has none."""
    data = {**spec.files, **(more or {})}
    if not data:
        return []
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(spec, config_name(spec)), "data": data}]


def pod_template(
    spec: JobSpec,
    role: str,
    *,
    env: Sequence[Object] = (),
    container: str = "main",
    command: Sequence[str] | None = None,
    subdomain: str | None = None,
    restart_policy: str | None = "Never",
    mount_files: bool | None = None,
) -> Object:
    """Returns {metadata, spec} of the pods of a role.

    Args:
        spec: the job.
        role: whose resources they get.
        env: variables of the launcher, before the job's own.
        container: name of the container.
        command: what it runs; the job's words where None.
        subdomain: headless service that gives pods their names.
        restart_policy: of the pod; None where the kind sets it.
        mount_files: mount the job's ConfigMap; where None, if the job has files.
    """
    resources = spec.resources_of(role)
    root = spec.run_as_user == 0
    volumes, mounts = _volumes(spec, bool(spec.files) if mount_files is None else mount_files)
    main: Object = {
        "name": container,
        "image": spec.image,
        "command": [_literal(word) for word in (command if command is not None else spec.words())],
        "env": [*env, *_env(spec)],
        "resources": _resources(resources),
        "ports": [{"name": name, "containerPort": port} for name, port in PORTS.items()],
        "volumeMounts": mounts,
        # The end of the log becomes the message of a failed container: it outlives the pod's log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": spec.read_only_root,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    security: Object = {"runAsNonRoot": not root, "seccompProfile": {"type": "RuntimeDefault"}}
    if spec.run_as_user is not None:
        security |= {"runAsUser": spec.run_as_user, "runAsGroup": spec.run_as_user}
    if not root:
        security |= {"fsGroup": spec.run_as_user or _IMAGE_GROUP, "fsGroupChangePolicy": "OnRootMismatch"}
    pod: Object = {
        "containers": [main],
        "volumes": volumes,
        "securityContext": security,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": spec.grace_s,
    }
    for target, key, value in (
        (main, "imagePullPolicy", spec.image_pull_policy),
        (main, "workingDir", spec.working_dir),
        (pod, "restartPolicy", restart_policy),
        (pod, "subdomain", subdomain),
        (pod, "nodeSelector", _node_selector(spec, resources)),
        (pod, "tolerations", _tolerations(spec, resources)),
        (pod, "priorityClassName", spec.priority_class),
        (pod, "serviceAccountName", spec.service_account),
        (pod, "imagePullSecrets", [{"name": name} for name in spec.image_pull_secrets]),
    ):
        if value:
            target[key] = value
    return {"metadata": {"labels": labels(spec, role)}, "spec": pod}


def tf_config_env(addresses: Mapping[str, Sequence[str]], role: str) -> list[Object]:
    """Returns the variables that give each pod of an Indexed Job its own TF_CONFIG.

    Kubernetes puts the pod's completion index into the text; nothing in the image takes part.

    Args:
        addresses: role → "host:port" of each member.
        role: of the pods of this Job; their completion index is the index within the role.
    """
    from trainers.tf_config import tf_config

    value = json.loads(tf_config(addresses, role, 0))
    value["task"]["index"] = INDEX
    text = json.dumps(value, sort_keys=True).replace(f'"{INDEX}"', f"$({INDEX})")
    return [index_env(), {"name": "TF_CONFIG", "value": text}]


def index_env() -> Object:
    """Returns the variable that holds the completion index of a pod."""
    path = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    return {"name": INDEX, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def same_resources(spec: JobSpec) -> bool:
    """Returns whether one pod template serves all roles."""
    return len({spec.resources_of(role) for role in spec.roles}) == 1


def roles_in_order(spec: JobSpec) -> list[tuple[str, int]]:
    """Returns (role, count) in the order of ranks."""
    return [(role, spec.roles[role]) for role in ROLES if spec.roles.get(role)]


def _env(spec: JobSpec) -> list[Object]:
    out: list[Object] = []
    if "HOME" not in spec.env and spec.run_as_user != 0:
        out.append({"name": "HOME", "value": "/tmp"})
    if spec.files and "PYTHONPATH" not in spec.env:
        out.append({"name": "PYTHONPATH", "value": FILES_MOUNT})
    out += [{"name": name, "value": _literal(value)} for name, value in spec.env.items()]
    for item in spec.secrets:
        reference = {"secretKeyRef": {"name": item.secret, "key": item.key}}
        out.append({"name": item.name, "valueFrom": reference})
    return out


def _literal(text: str) -> str:
    # Kubernetes would put the value of a variable in place of $(NAME).
    return text.replace("$(", "$$(")


def _resources(resources: Resources) -> Object:
    amounts: Object = {"cpu": resources.cpu, "memory": resources.memory}
    if resources.gpu:
        amounts["nvidia.com/gpu"] = str(resources.gpu)
    if resources.tpu:
        amounts["google.com/tpu"] = str(resources.tpu)
    return {"requests": amounts, "limits": dict(amounts)}


def _node_selector(spec: JobSpec, resources: Resources) -> dict[str, str]:
    if not resources.tpu:
        return dict(spec.node_selector)
    slice_of = {f"{_GKE}accelerator": resources.tpu_accelerator, f"{_GKE}topology": resources.tpu_topology}
    return {**{key: value for key, value in slice_of.items() if value}, **spec.node_selector}


def _tolerations(spec: JobSpec, resources: Resources) -> list[Object]:
    out = []
    for item in spec.tolerations:
        fields = {"key": item.key, "operator": item.operator, "value": item.value, "effect": item.effect}
        out.append({key: value for key, value in fields.items() if value})
    for present, key in ((resources.gpu, "nvidia.com/gpu"), (resources.tpu, "google.com/tpu")):
        if present and not any(item.key == key for item in spec.tolerations):
            out.append({"key": key, "operator": "Exists", "effect": "NoSchedule"})
    return out


def _volumes(spec: JobSpec, mount_files: bool) -> tuple[list[Object], list[Object]]:
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
        volumes.append({"name": "tmp", "emptyDir": {}})
        mounts.append({"name": "tmp", "mountPath": "/tmp"})
    return volumes, mounts


def _source(volume: Volume) -> Object:
    if volume.claim:
        return {"persistentVolumeClaim": {"claimName": volume.claim}}
    if volume.host_path:
        return {"hostPath": {"path": volume.host_path}}
    fields = {"medium": volume.medium, "sizeLimit": volume.size}
    return {"emptyDir": {key: value for key, value in fields.items() if value}}
