"""What a `--pod-patch` gives a pod beyond the pod security level 'restricted', which jobs keep otherwise, by name.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ has the two levels. A namespace of one of them refuses such
pods one by one, long after the job was accepted; another takes them without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["refused_at", "rights_beyond"]

_HOST = ("hostNetwork", "hostPID", "hostIPC")
# Of capabilities: baseline allows to add these, restricted the first alone.
_ADDED = (
    "NET_BIND_SERVICE", "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "SETFCAP", "SETGID", "SETPCAP",
    "SETUID", "SYS_CHROOT",
)  # fmt: skip
_VOLUMES = (
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
)  # fmt: skip
_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_syncookies",
)  # fmt: skip
_SELINUX_TYPES = ("container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_Found = Iterator[tuple[str, str]]  # (the weakest level that forbids it, what)


def rights_beyond(plain: Sequence[Mapping[str, Any]], patched: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns where a patch leaves pods with what 'restricted' forbids, as {"spec.hostNetwork = True": weakest level that forbids it}.

    The result of the patch counts, not its words: a directive takes away what it does not name, and a container of its own
    has no security context unless it brings one.

    Args:
        plain: objects of a job without its patch.
        patched: the same objects with it.
    """
    before, after = [list(_pod_specs(objects)) for objects in (plain, patched)]
    found = (each for was, now in zip(before, after, strict=True) for each in sorted({*_rights(now)} - {*_rights(was)}))
    return {text: weakest for weakest, text in found}


def refused_at(rights: Mapping[str, str], level: str | None) -> list[str]:
    """Returns which of the rights a namespace refuses.

    Args:
        rights: of `rights_beyond`.
        level: of pod security that the namespace enforces; None, "privileged" and ones of another project refuse none.
    """
    return [text for text, weakest in rights.items() if level == "restricted" or level == weakest == "baseline"]


def _pod_specs(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("containers"), list):
            yield value
        else:
            for each in value.values():
                yield from _pod_specs(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _pod_specs(each)


def _rights(spec: Mapping[str, Any]) -> _Found:
    """Yields what the levels forbid of a pod."""
    for name in _HOST:
        if spec.get(name):
            yield "baseline", f"spec.{name} = True"
    for volume in spec.get("volumes") or ():
        if volume.get("hostPath"):
            yield "baseline", f"spec.volumes[{volume.get('name')}].hostPath = {volume['hostPath'].get('path')!r}"
        for source in sorted(
            name for name, value in volume.items() if value and name not in ("name", "hostPath", *_VOLUMES)
        ):
            yield "restricted", f"spec.volumes[{volume.get('name')}].{source}: a volume of another type"
    context = spec.get("securityContext") or {}
    for sysctl in context.get("sysctls") or ():
        if sysctl.get("name") not in _SYSCTLS:
            yield "baseline", f"spec.securityContext.sysctls: {sysctl.get('name')!r}"
    yield from _of_context(context, "spec.securityContext")
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            where = f"spec.{kind}[{container.get('name')}]"
            yield from _of_container(container.get("securityContext") or {}, f"{where}.securityContext", context)
            for port in container.get("ports") or ():
                if port.get("hostPort"):
                    yield "baseline", f"{where}.ports: hostPort = {port['hostPort']}"


def _of_context(context: Mapping[str, Any], where: str) -> _Found:
    """Yields what is forbidden of a security context of a pod or a container."""
    if context.get("runAsNonRoot") is False:
        yield "restricted", f"{where}.runAsNonRoot = False"
    if context.get("runAsUser") == 0:
        yield "restricted", f"{where}.runAsUser = 0"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "baseline", f"{where}.windowsOptions.hostProcess = True"
    selinux = context.get("seLinuxOptions") or {}
    for name in ("user", "role", "type"):
        if selinux.get(name) and not (name == "type" and selinux[name] in _SELINUX_TYPES):
            yield "baseline", f"{where}.seLinuxOptions.{name} = {selinux[name]!r}"
    for profile in ("seccompProfile", "appArmorProfile"):
        if (context.get(profile) or {}).get("type") == "Unconfined":
            yield "baseline", f"{where}.{profile}.type = 'Unconfined'"


def _of_container(context: Mapping[str, Any], where: str, of_pod: Mapping[str, Any]) -> _Found:
    """Yields what is forbidden of a container's security context, and what it must have and does not."""
    yield from _of_context(context, where)
    if context.get("privileged"):
        yield "baseline", f"{where}.privileged = True"
    if context.get("procMount") not in (None, "Default"):
        yield "baseline", f"{where}.procMount = {context['procMount']!r}"
    for name in ("runAsNonRoot", "seccompProfile"):  # the pod's are its containers', too
        if context.get(name) in (None, {}) and of_pod.get(name) in (None, {}):
            yield "restricted", f"{where}.{name} is not set, nor is the pod's"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "restricted", f"{where}.allowPrivilegeEscalation is not False"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "restricted", f"{where}.capabilities.drop is without 'ALL'"
    for name in capabilities.get("add") or ():
        if name != _ADDED[0]:
            yield "restricted" if name in _ADDED else "baseline", f"{where}.capabilities.add = {name!r}"
