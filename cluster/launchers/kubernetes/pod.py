"""The pod template of a job: what every kind puts in its own place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.launchers.kubernetes.objects import Object, labels, needs_secret, secret_name
from cluster.launchers.kubernetes.pod_patch import check_patch, check_patched, merge_patch
from cluster.launchers.kubernetes.volumes import SECRET_MODE, volumes_of
from cluster.spec import JobSpec, Resources
from cluster.spec.job_spec import FILES_MOUNT, GROUP_MOUNT, ROLES
from engine.core import environment

__all__ = ["INDEX", "PORTS", "SECRET_KEY", "pod_template", "tf_config_env"]
# TensorFlow's servers, and the rendezvous of the supervisors, one port above.
PORTS = {"tensorflow": 2222, "rendezvous": 2223}
INDEX = environment.INDEX.name
_IMAGE_GROUP = 10001  # of k8s/Dockerfile
_THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
_GKE = "cloud.google.com/gke-tpu-"


SECRET_KEY = "secret"


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
    mount_secret: bool | None = None,
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
        mount_secret: mount the group's Secret; where None, if its members meet at a rendezvous.
    """
    resources = spec.resources_of(role)
    root = spec.run_as_user == 0
    volumes, mounts = volumes_of(spec, role, bool(spec.files) if mount_files is None else mount_files)
    if needs_secret(spec) if mount_secret is None else mount_secret:
        env = [*env, {"name": environment.GROUP_SECRET_FILE.name, "value": f"{GROUP_MOUNT}/{SECRET_KEY}"}]
        secret = {"secretName": secret_name(spec), "defaultMode": SECRET_MODE}
        volumes.append({"name": "group", "secret": secret})
        mounts.append({"name": "group", "mountPath": GROUP_MOUNT, "readOnly": True})
    main: Object = {
        "name": container,
        "image": spec.image,
        "command": [_literal(word) for word in (command if command is not None else spec.words())],
        "env": [*env, *_env(spec, resources)],
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
        # Named even where it is the namespace's own: what a pod may do is then to be read from it.
        (pod, "serviceAccountName", spec.service_account or "default"),
        (pod, "affinity", dict(spec.affinity)),
        (pod, "topologySpreadConstraints", [dict(item) for item in spec.topology_spread]),
        (pod, "schedulerName", spec.scheduler_name),
        (pod, "runtimeClassName", spec.runtime_class),
        (pod, "initContainers", [dict(item) for item in spec.init_containers]),
        (pod, "imagePullSecrets", [{"name": name} for name in spec.image_pull_secrets]),
    ):
        if value:
            target[key] = value
    described: Object = {"labels": labels(spec, role)}
    if spec.annotations:
        described["annotations"] = dict(spec.annotations)
    template: Object = {"metadata": described, "spec": pod}
    if not spec.pod_patch:
        return template
    check_patch(spec.pod_patch)
    patched: dict[str, Any] = merge_patch(template, spec.pod_patch)
    check_patched(template, patched)
    return patched


def tf_config_env(addresses: Mapping[str, Sequence[str]], role: str) -> list[Object]:
    """Returns the variables that give each pod of an Indexed Job its own TF_CONFIG.

    Kubernetes puts the pod's completion index into the text; nothing in the image takes part.

    Args:
        addresses: role → "host:port" of each member.
        role: of the pods of this Job; their completion index is the index within the role.
    """
    from trainers.supervision.tf_config import tf_config

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


def _env(spec: JobSpec, resources: Resources) -> list[Object]:
    # TensorFlow and OpenMP count the node's processors, not the pod's share of them: with a share of 4 of 96 they would
    # start 96 threads that are throttled in turn.
    threads = str(resources.whole_cores)
    out: list[Object] = [{"name": name, "value": threads} for name in _THREADS if name not in spec.env]
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
    # Kubernetes would put the value of a variable in place of $(NAME), and one $ in place of two ("pa$$word", a shell's $$).
    return re.sub(r"\$(?=[$(])", "$$", text)


def _resources(resources: Resources) -> Object:
    amounts: Object = {
        "cpu": resources.cpu,
        "memory": resources.memory,
        "ephemeral-storage": resources.ephemeral_storage,
    }
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
