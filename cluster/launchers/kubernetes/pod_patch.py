"""`--pod-patch`: what a platform asks of pods that no option knows, merged into the template as Kubernetes merges patches.

Objects are merged key by key, null deletes a key, lists of named things are merged by their name, other lists are replaced;
`$patch: delete` in an item removes it, `$patch: replace` in an object replaces it
(https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.spec.names import check_annotations, check_label, is_own_label
from engine.core.errors import ConfigError

__all__ = ["check_object", "check_patch", "check_patched", "merge_patch"]

# x-kubernetes-patch-merge-key of the fields of a pod's spec, from the API's OpenAPI description.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "resourceClaims": "name",
    "topologySpreadConstraints": "topologyKey",
    "schedulingGates": "name",
}
_DIRECTIVE = "$patch"


def merge_patch(base: Any, patch: Any, where: str = "pod_patch") -> Any:
    """Returns `base` with a strategic merge patch in it; both stay as they are.

    Raises:
        ConfigError: an unknown directive, or an item without the name that its list is merged by.
    """
    if not isinstance(patch, Mapping):
        return patch
    directive = patch.get(_DIRECTIVE)
    if directive not in (None, "merge", "replace", "delete"):
        raise ConfigError(f"{where}.{_DIRECTIVE} = {directive!r}: expected merge, replace or delete")
    rest = {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "replace":
        return rest
    out = dict(base) if isinstance(base, Mapping) else {}
    for key, value in rest.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, list) and key in _MERGE_KEYS:
            out[key] = _merge_list(out.get(key) or [], value, _MERGE_KEYS[key], f"{where}.{key}")
        elif isinstance(value, Mapping) and value.get(_DIRECTIVE) == "delete":
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), value, f"{where}.{key}")
    return out


def _merge_list(base: list[Any], patch: list[Any], name: str, where: str) -> list[Any]:
    out = list(base)
    for number, item in enumerate(patch):
        at = f"{where}[{number}]"
        if not isinstance(item, Mapping) or name not in item:
            raise ConfigError(f"{at} has no {name}, by which items of {where.rpartition('.')[2]} are distinguished")
        places = [i for i, other in enumerate(out) if other.get(name) == item[name]]
        if item.get(_DIRECTIVE) == "delete":
            out = [other for other in out if other.get(name) != item[name]]
        elif places:
            out[places[0]] = merge_patch(out[places[0]], item, at)
        else:
            out.append(merge_patch({}, item, at))
    return out


def check_patch(patch: Mapping[str, Any]) -> None:
    """Refuses a patch with a field that a pod template does not have, by the models of the Kubernetes client.

    Raises:
        ConfigError: an unknown field, with the known ones; or a value of another shape.
    """
    check_object(patch, "V1PodTemplateSpec", "pod_patch")


def check_patched(template: Mapping[str, Any], patched: Mapping[str, Any]) -> None:
    """Refuses a patched template that is no longer a pod of its job.

    Its labels say to whom it belongs: NetworkPolicies, status and logs go by them, and with another job's label a pod would be let
    in to that job's ports.

    Args:
        template: as it was.
        patched: with the patch in it.

    Raises:
        ConfigError: a label of Fullpass is another or gone, or the member's container is.
    """
    before, after = template["metadata"]["labels"], (patched.get("metadata") or {}).get("labels") or {}
    for name in sorted({*before, *after}, key=str):
        if is_own_label(name) and after.get(name) != before.get(name):
            raise ConfigError(
                f"pod_patch.metadata.labels: {name} is set by the launcher ({before.get(name)!r}), seen {after.get(name)!r}"
            )
    metadata = patched.get("metadata") or {}
    check_annotations(metadata.get("annotations") or {}, "pod_patch.metadata.annotations")
    for name, value in after.items():
        check_label(name, value, "pod_patch.metadata.labels")
    member = template["spec"]["containers"][0]["name"]
    if member not in [each.get("name") for each in (patched.get("spec") or {}).get("containers") or ()]:
        raise ConfigError(f"pod_patch.spec.containers: container {member!r}, which runs the member, is gone")


def check_object(value: Mapping[str, Any], model: str, where: str) -> None:
    """Refuses an object with a field that the Kubernetes client's model of that name does not have.

    Args:
        value: as it goes to the API.
        model: e.g. "V1NetworkPolicy".
        where: named in the error.

    Raises:
        ConfigError: an unknown field, with the known ones; or a value of another shape.
    """
    from kubernetes.client import models

    _check(dict(value), model, where, models)


def _check(value: Any, kind: str, where: str, models: Any) -> None:
    if value is None:
        return
    if kind.lower().startswith("list["):  # releases of the client differ
        if not isinstance(value, list):
            raise ConfigError(f"{where} = {value!r}: expected a list")
        for number, item in enumerate(value):
            _check(item, kind[5:-1], f"{where}[{number}]", models)
        return
    if kind.lower().startswith(("dict(", "dict[")):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} = {value!r}: expected an object")
        return
    model = getattr(models, kind, None)
    if model is None:  # a text, a number, a quantity
        expected = {"str": str, "int": int, "bool": bool}.get(kind)
        if expected is not None and (not isinstance(value, expected) or (expected is int and isinstance(value, bool))):
            raise ConfigError(f"{where} = {value!r}: expected {kind}")
        return
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} = {value!r}: expected an object")
    fields = {wire: model.openapi_types[name] for name, wire in model.attribute_map.items()}
    for key, item in value.items():
        if key == _DIRECTIVE:
            continue
        if key not in fields:
            raise ConfigError(f"{where}: unknown field {key!r}; known are {', '.join(sorted(fields))}")
        _check(item, fields[key], f"{where}.{key}", models)
