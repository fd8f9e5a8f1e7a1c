"""What a patch may not give to pods: refused where the namespace forbids it, said where it does not."""

from __future__ import annotations

import pytest

from cluster import JobSpec, launcher
from cluster.launchers.kubernetes.kinds.kind import KINDS
from cluster.launchers.kubernetes.pod_rights import refused_at, rights_beyond
from engine import ConfigError
from tests.support.kubernetes_api import recording_api
from tests.unit.cluster.test_kubernetes_render import BASE, render

GROUP = {"roles": {"worker": 2}}


def _main(**context):
    return {"spec": {"containers": [{"name": "main", "securityContext": context}]}}


def _beyond(patch, level="restricted"):
    return refused_at(rights_beyond(render("job"), render("job", pod_patch=patch)), level)


_WITHIN = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SIDECAR = {"name": "sidecar", "image": "proxy", "securityContext": _WITHIN}


@pytest.mark.parametrize(
    ("patch", "weakest", "said"),
    [
        ({"spec": {"hostNetwork": True}}, "baseline", "spec.hostNetwork = True"),
        ({"spec": {"hostPID": True}}, "baseline", "spec.hostPID"),
        ({"spec": {"volumes": [{"name": "n", "hostPath": {"path": "/"}}]}}, "baseline", "hostPath = '/'"),
        ({"spec": {"securityContext": {"runAsUser": 0}}}, "restricted", "spec.securityContext.runAsUser = 0"),
        ({"spec": {"securityContext": {"runAsNonRoot": False}}}, "restricted", "runAsNonRoot = False"),
        ({"spec": {"securityContext": {"runAsNonRoot": None}}}, "restricted", "[main].securityContext.runAsNonRoot is not set, nor"),
        ({"spec": {"securityContext": {"seccompProfile": {"$patch": "delete"}}}}, "restricted", "seccompProfile is not set, nor"),
        (_main(privileged=True), "baseline", "containers[main].securityContext.privileged = True"),
        (_main(allowPrivilegeEscalation=True), "restricted", "allowPrivilegeEscalation is not False"),
        (_main(capabilities={"$patch": "delete"}), "restricted", "capabilities.drop is without 'ALL'"),
        (_main(capabilities={"$patch": "replace"}), "restricted", "capabilities.drop is without 'ALL'"),
        (_main(capabilities={"add": ["SYS_ADMIN"]}), "baseline", "capabilities.add = 'SYS_ADMIN'"),
        (_main(capabilities={"add": ["CHOWN"]}), "restricted", "capabilities.add = 'CHOWN'"),
        (_main(capabilities={"drop": []}), "restricted", "capabilities.drop"),
        (_main(seccompProfile={"type": "Unconfined"}), "baseline", "seccompProfile.type = 'Unconfined'"),
        ({"spec": {"volumes": [{"name": "n", "nfs": {"server": "s", "path": "/"}}]}}, "restricted", "spec.volumes[n].nfs"),
        ({"spec": {"volumes": [{"name": "n", "iscsi": {"targetPortal": "s", "iqn": "q", "lun": 0}}]}}, "restricted", "[n].iscsi"),
        ({"spec": {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}}, "baseline", "'kernel.msgmax'"),
        ({"spec": {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}}, "baseline", "seLinuxOptions.type = 'spc_t'"),
        (_main(seLinuxOptions={"user": "system_u"}), "baseline", "seLinuxOptions.user = 'system_u'"),
        (_main(windowsOptions={"hostProcess": True}), "baseline", "windowsOptions.hostProcess = True"),
        (_main(procMount="Unmasked"), "baseline", "procMount = 'Unmasked'"),
        ({"spec": {"initContainers": [{**SIDECAR, "ports": [{"containerPort": 1, "hostPort": 1}]}]}}, "baseline", "hostPort = 1"),
    ],
)  # fmt: skip
def test_patch_that_asks_for_more_than_restricted_is_named(patch, weakest, said):
    (found,) = _beyond(patch)
    assert said in found and _beyond(patch, "baseline") == ([found] if weakest == "baseline" else [])


_POD, _CONTAINER = ("runAsNonRoot", "seccompProfile"), ("allowPrivilegeEscalation", "capabilities.drop")


@pytest.mark.parametrize(
    ("patch", "gone"),
    [
        ({"spec": {"securityContext": None}}, _POD),
        ({"spec": {"securityContext": {"$patch": "replace"}}}, _POD),
        ({"spec": {"securityContext": {"$patch": "delete"}}}, _POD),
        ({"spec": {"$patch": "replace", "containers": [{"name": "main", "image": "x"}]}}, (*_CONTAINER, *_POD)),
        ({"spec": {"containers": [{"name": "main", "securityContext": {"$patch": "delete"}}]}}, _CONTAINER),
        ({"spec": {"containers": [{"name": "main", "$patch": "replace", "image": "x"}]}}, _CONTAINER),
        ({"spec": {"containers": [{"name": "sidecar", "image": "proxy"}]}}, _CONTAINER),
    ],
)
def test_what_a_patch_takes_away_or_adds_without_is_named(patch, gone):
    found = _beyond(patch)
    assert len(found) == len(gone) and all(f"securityContext.{name} is" in text for name, text in zip(gone, found))
    assert _beyond(patch, "baseline") == []


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"rayjob"}))
def test_rights_are_those_of_pods_of_every_kind(kind):
    plain, patched = (render(kind, **GROUP, pod_patch=patch) for patch in ({}, {"spec": {"hostIPC": True}}))
    assert rights_beyond(plain, patched) == {"spec.hostIPC = True": "baseline"}


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"metadata": {"annotations": {"a": "b"}}},
        {"spec": {"hostNetwork": False, "volumes": [{"name": "v"}]}},
        {"spec": {"containers": [SIDECAR]}},
        {"spec": {"securityContext": {}}},
        {"spec": {"volumes": [{"name": "n", "csi": {"driver": "d"}}, {"name": "m", "emptyDir": {}}]}},
        {"spec": {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]}}},
        {"spec": {"securityContext": {"seLinuxOptions": {"type": "container_t", "level": "s0:c1"}}}},
        _main(),
        _main(runAsNonRoot=None, seccompProfile=None),
        _main(capabilities={"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}, runAsUser=7, runAsNonRoot=True),
    ],
)  # fmt: skip
def test_patch_within_restricted_is_not_named(patch):
    assert _beyond(patch) == []


@pytest.mark.parametrize("level", ["baseline", "restricted", "privileged", None])
def test_patch_beyond_its_namespace_is_refused_and_beyond_restricted_is_said(tmp_path, level, capsys):
    labels = {"pod-security.kubernetes.io/enforce": level} if level else {}
    spec = JobSpec(**BASE, pod_patch={"spec": {"hostNetwork": True}})
    with recording_api(tmp_path, labels) as (kubeconfig, created):
        place = launcher("kubernetes", kubeconfig=kubeconfig)
        if level in ("baseline", "restricted"):
            with pytest.raises(
                ConfigError, match=f"pod_patch.spec.hostNetwork = True: namespace team enforces .*'{level}'"
            ):
                place.submit(spec)
            assert created == []
        else:
            place.submit(spec)
            said = capsys.readouterr().err
            assert created and "spec.hostNetwork = True; no NetworkPolicy holds for it" in said
