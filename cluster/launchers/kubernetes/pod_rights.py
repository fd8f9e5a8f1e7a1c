"""What a `--pod-patch` gives a pod beyond the pod security level 'restricted', which jobs keep otherwise, by name.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ has the two levels. A namespace of one of them refuses such
pods one by one, long after the job was accepted; another takes them without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["rights_beyond"]

_HOST = ("hostNetwork", "hostPID", "hostIPC")
# Of capabilities: baseline allows to add these, restricted the first alone.
_ADDED = (
    "NET_BIND_SERVICE", "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "SETFCAP", "SETGID", "SETPCAP",
    "SETUID", "SYS_CHROOT",
)  # fmt: skip
_KEPT = ("allowPrivilegeEscalation", "capabilities", "runAsNonRoot", "seccompProfile")  # what restricted asks for


def rights_beyond(patch: Mapping[str, Any], level: str = "restricted") -> list[str]:
    """Returns where a patch asks for what a pod security level forbids, e.g. "spec.hostNetwork = True".

    Args:
        patch: of a pod template; its shape is checked.
        level: "restricted" or "baseline".
    """
    spec = patch.get("spec") or {}
    found = [("baseline", f"spec.{name} = True") for name in _HOST if spec.get(name)]
    for number, volume in enumerate(spec.get("volumes") or ()):
        if volume.get("hostPath"):
            found.append(("baseline", f"spec.volumes[{number}].hostPath = {volume['hostPath'].get('path')!r}"))
    found += _of_context(spec, "spec")
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for number, container in enumerate(spec.get(kind) or ()):
            where = f"spec.{kind}[{number}]"
            found += _of_context(container, where)
            for port in container.get("ports") or ():
                if port.get("hostPort"):
                    found.append(("baseline", f"{where}.ports: hostPort = {port['hostPort']}"))
    return [text for forbidden_by, text in found if level == "restricted" or forbidden_by == "baseline"]


def _of_context(owner: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    """Yields (the weakest level that forbids it, what) of a pod's or container's security context."""
    where += ".securityContext"
    if "securityContext" not in owner:
        return
    context = owner["securityContext"]
    if not context or "$patch" in context:
        yield "restricted", f"{where} is taken away"
    context = context or {}
    for name in _KEPT:
        if name in context and (context[name] is None or (context[name] is False and name == "runAsNonRoot")):
            yield "restricted", f"{where}.{name} = {context[name]}"
    if context.get("privileged"):
        yield "baseline", f"{where}.privileged = True"
    if context.get("allowPrivilegeEscalation"):
        yield "restricted", f"{where}.allowPrivilegeEscalation = True"
    if context.get("runAsUser") == 0:
        yield "restricted", f"{where}.runAsUser = 0"
    if context.get("procMount") not in (None, "Default"):
        yield "baseline", f"{where}.procMount = {context['procMount']!r}"
    for profile in ("seccompProfile", "appArmorProfile"):
        if (context.get(profile) or {}).get("type") == "Unconfined":
            yield "baseline", f"{where}.{profile}.type = 'Unconfined'"
    capabilities = context.get("capabilities") or {}
    if "drop" in capabilities and "ALL" not in (capabilities["drop"] or ()):
        yield "restricted", f"{where}.capabilities.drop = {capabilities['drop']}"
    for name in capabilities.get("add") or ():
        if name != _ADDED[0]:
            yield "restricted" if name in _ADDED else "baseline", f"{where}.capabilities.add = {name!r}"
