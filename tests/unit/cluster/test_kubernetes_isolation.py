"""What keeps jobs apart on Kubernetes: policies, the group's secret, limits; and what a platform may ask of pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import JobSpec, Resources, SecretEnv, Volume, launcher
from cluster.cli.main import build_parser
from cluster.cli.submit_flags import spec_from_args
from cluster.launchers.kubernetes.kinds.kind import KINDS
from cluster.launchers.kubernetes.pod_patch import check_object, check_patch, merge_patch
from engine import ConfigError
from engine.core.environment import GROUP_SECRET_FILE
from tests.support.kubernetes_api import recording_api
from tests.unit.cluster.test_kubernetes_render import BASE, pods, render, variables
from trainers.rendezvous.group_secret import group_secret

K8S = Path(__file__).parents[3] / "k8s"
GROUP = {"roles": {"worker": 2}}


def of_kind(objects: list[dict], kind: str) -> list[dict]:
    return [obj for obj in objects if obj["kind"] == kind]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Label selectors as the API documents them."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for item in selector.get("matchExpressions") or []:
        has, operator = item["key"] in labels, item["operator"]
        found = {
            "Exists": has,
            "DoesNotExist": not has,
            "In": labels.get(item["key"]) in item.get("values", []),
            "NotIn": labels.get(item["key"]) not in item.get("values", []),
        }[operator]
        if not found:
            return False
    return True


def may_enter(policies: list[dict], to: dict[str, str], source: dict[str, str], namespace: str, port: int) -> bool:
    """Ingress as the API documents it: open where no policy selects the pod, else the union of their rules."""
    applying = [
        p["spec"] for p in policies if "Ingress" in p["spec"]["policyTypes"] and selects(p["spec"]["podSelector"], to)
    ]
    if not applying:
        return True
    for rule in (rule for spec in applying for rule in spec.get("ingress") or []):
        ports = [item["port"] for item in rule.get("ports") or []]
        for peer in rule["from"]:
            at_home = (
                selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
                if ("namespaceSelector" in peer)
                else namespace == "fullpass"
            )
            if at_home and selects(peer["podSelector"], source) and (not ports or port in ports):
                return True
    return False


def manifest(name: str) -> list[dict]:
    return [doc for doc in yaml.safe_load_all((K8S / name).read_text()) if doc["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize("base", [True, False], ids=["in k8s/base", "in a plain namespace"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_job_is_entered_by_its_own_members_alone(kind, base):
    objects, others = render(kind, **GROUP), render(kind, **GROUP, name="other")
    policies = [*of_kind(objects, "NetworkPolicy"), *of_kind(others, "NetworkPolicy")]
    policies += manifest("base/network.yaml") if base else []
    for pod in pods(kind, objects).values():
        ours = pod["metadata"]["labels"]
        assert selects(of_kind(objects, "NetworkPolicy")[0]["spec"]["podSelector"], ours)
        for port in (2222, 2223):
            assert may_enter(policies, ours, ours, "fullpass", port)
            assert not may_enter(policies, ours, ours, "elsewhere", port), "the same labels in another namespace"
            for other in pods(kind, others).values():
                assert not may_enter(policies, ours, other["metadata"]["labels"], "fullpass", port)
            assert not may_enter(policies, ours, {"fullpass/runner": "flink"}, "fullpass", port)
    same_name = render("jobset" if kind == "job" else "job", **GROUP)[0]
    assert same_name["metadata"]["name"] == objects[0]["metadata"]["name"]
    for pod in pods(same_name["kind"].lower(), [same_name]).values():
        assert not may_enter(policies, ours, pod["metadata"]["labels"], "fullpass", 2222), "another kind's job"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_objects_have_no_field_that_the_api_does_not_know(kind):
    """By the models of the API's own client: a misspelt field of a policy would be dropped in silence."""
    objects = render(kind, **GROUP, volumes=(Volume(mount_path="/a", secret="keys"),))
    for obj in objects:
        model = {"NetworkPolicy": "V1NetworkPolicy", "Secret": "V1Secret", "Job": "V1Job"}.get(obj["kind"])
        if model:
            check_object(obj, model, obj["kind"])
    for role, pod in pods(kind, objects).items():
        check_object(pod, "V1PodTemplateSpec", role)
    for path in K8S.rglob("*.yaml"):
        for obj in yaml.safe_load_all(path.read_text()):
            if obj["kind"] == "NetworkPolicy":
                check_object(obj, "V1NetworkPolicy", str(path))


def test_head_of_a_rayjob_is_asked_by_its_operator_alone():
    objects = render("rayjob", **GROUP)
    policies = of_kind(objects, "NetworkPolicy") + manifest("base/network.yaml")
    head = {**pods("rayjob", objects)["head"]["metadata"]["labels"], "ray.io/node-type": "head"}
    operator = {"app.kubernetes.io/component": "kuberay-operator"}
    assert may_enter(policies, head, operator, "kuberay-operator", 8265)
    assert not may_enter(policies, head, operator, "kuberay-operator", 6379)
    assert not may_enter(policies, head, operator, "somebody", 8265), "anyone may use that label"


@pytest.mark.parametrize("runner", ["flink", "spark"])
def test_beam_runner_is_reached_by_jobs_that_use_it_and_reaches_them(runner):
    words = {"step": "analyze", "args": ("/data", "--runner", runner)}
    uses, does_not = render("job", **words), render("job", name="other")
    policies = [*of_kind(uses, "NetworkPolicy"), *of_kind(does_not, "NetworkPolicy")]
    policies += manifest(f"{runner}/network.yaml") + manifest("base/network.yaml")
    client, other = (
        pods("job", uses)["worker"]["metadata"]["labels"],
        pods("job", does_not)["worker"]["metadata"]["labels"],
    )
    master = {"fullpass/runner": runner}
    assert may_enter(policies, master, client, "fullpass", 8081) and may_enter(
        policies, client, master, "fullpass", 40000
    )
    assert not may_enter(policies, master, other, "fullpass", 8081)
    assert not may_enter(policies, other, master, "fullpass", 40000)
    egress = next(p for p in manifest("base/network.yaml") if p["metadata"]["name"] == "beam-clients")
    assert selects(egress["spec"]["podSelector"], client) and not selects(egress["spec"]["podSelector"], other)


def test_no_manifest_lets_everything_out():
    """443 to anywhere is a choice (k8s/egress/https), not what a namespace comes with."""
    for name in ("base/network.yaml", "flink/network.yaml", "spark/network.yaml"):
        for policy in manifest(name):
            assert all(rule.get("to") for rule in policy["spec"].get("egress") or []), (
                name,
                policy["metadata"]["name"],
            )


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"rayjob"}))
def test_members_of_a_group_share_a_secret_that_only_they_may_read(kind, tmp_path):
    objects = render(kind, **GROUP)
    (secret,) = of_kind(objects, "Secret")
    for pod in pods(kind, objects).values():
        path = variables(pod)[GROUP_SECRET_FILE.name]
        mount = next(m for m in pod["spec"]["containers"][0]["volumeMounts"] if path.startswith(m["mountPath"] + "/"))
        volume = next(v for v in pod["spec"]["volumes"] if v["name"] == mount["name"])["secret"]
        assert volume["secretName"] == secret["metadata"]["name"] and mount["readOnly"]
        assert not volume["defaultMode"] & 0o007
        assert list(secret["stringData"]) == [path.rpartition("/")[2]]
    # What is only rendered holds no secret, and a group that got it would say so.
    file = tmp_path / "secret"
    file.write_text(secret["stringData"]["secret"])
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="openssl rand -hex 16"):
        group_secret({GROUP_SECRET_FILE.name: str(file)})
    assert not of_kind(render(kind), "Secret"), "one member meets nobody"


def test_rayjob_head_and_submitter_get_no_secrets():
    secret = SecretEnv(name="TOKEN", secret="store", key="token")
    volume = Volume(mount_path="/keys", secret="keys")
    objects = render("rayjob", **GROUP, secrets=(secret,), volumes=(volume,))
    submitter = objects[0]["spec"]["submitterPodTemplate"]
    found = pods("rayjob", objects)
    for pod in (found["head"], submitter):
        assert "TOKEN" not in variables(pod) and "secret" not in json.dumps(pod["spec"]["volumes"])
    assert "TOKEN" in variables(found["worker"])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_pods_have_limits_on_disk_threads_of_their_cpu_and_name_their_account(kind):
    for role, pod in pods(kind, render(kind, resources=Resources(cpu="2500m", ephemeral_storage="1Gi"))).items():
        container = pod["spec"]["containers"][0]
        size = "2Gi" if role == "head" else "1Gi"  # the head is no member
        assert container["resources"]["limits"]["ephemeral-storage"] == size
        assert container["resources"]["requests"]["ephemeral-storage"] == size
        tmp = next(v for v in pod["spec"]["volumes"] if v["name"] == "tmp")
        assert tmp["emptyDir"] == {"sizeLimit": size}
        assert pod["spec"]["serviceAccountName"] == "default"
        if role != "head":
            for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
                assert variables(pod)[name] == "3"
    found = pods(kind, render(kind, env={"OMP_NUM_THREADS": "7"}))["worker"]["spec"]["containers"][0]["env"]
    assert [item["value"] for item in found if item["name"] == "OMP_NUM_THREADS"] == ["7"]


def test_namespace_has_no_way_in_from_outside_the_cluster():
    quota = list(yaml.safe_load_all((K8S / "base" / "limits.yaml").read_text()))[1]["spec"]["hard"]
    assert quota["services.loadbalancers"] == "0" and quota["services.nodeports"] == "0"


def test_volumes_of_every_source_are_in_the_pod():
    token = {"serviceAccountToken": {"path": "token", "audience": "store"}}
    objects = render(
        "job",
        volumes=(
            Volume(mount_path="/a", secret="keys", read_only=True),
            Volume(mount_path="/b", config_map="site"),
            Volume(mount_path="/c", projected=(token,)),
            Volume(
                mount_path="/d", csi_driver="secrets-store.csi.k8s.io", csi={"secretProviderClass": "x"}, read_only=True
            ),
        ),
    )
    found = pods("job", objects)["worker"]["spec"]["volumes"]
    assert found[0]["secret"] == {"secretName": "keys", "defaultMode": 0o440}
    assert found[1]["configMap"] == {"name": "site"}
    assert found[2]["projected"]["sources"] == [token]
    assert found[3]["csi"] == {
        "driver": "secrets-store.csi.k8s.io",
        "readOnly": True,
        "volumeAttributes": {"secretProviderClass": "x"},
    }
    for wrong, said in (
        ({"secret": "a", "claim": "b"}, "exactly one of claim, host_path, secret"),
        ({"secret": "A B"}, "secret: got 'A B'"),
        ({"projected": ({"password": {}},)}, "one of secret, configMap"),
        ({"empty_dir": True, "csi": {"a": "b"}}, "csi belongs to csi_driver"),
    ):
        with pytest.raises(ConfigError, match=said):
            Volume(mount_path="/a", **wrong)
    spec = JobSpec(name="a", step="train", volumes=(Volume(mount_path="/c", projected=(token,)),))
    assert JobSpec.from_json(spec.to_json()) == spec


def test_scheduling_fields_are_in_the_pod():
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    spread = ({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},)
    first = ({"name": "fetch", "image": "busybox"},)
    for kind in sorted(KINDS):
        pod = pods(
            kind,
            render(
                kind,
                affinity=affinity,
                topology_spread=spread,
                init_containers=first,
                scheduler_name="volcano",
                runtime_class="gvisor",
                annotations={"a.b/c": "d"},
            ),
        )["worker"]
        assert pod["metadata"]["annotations"]["a.b/c"] == "d"
        assert pod["spec"]["affinity"] == affinity and pod["spec"]["topologySpreadConstraints"] == list(spread)
        assert pod["spec"]["schedulerName"] == "volcano" and pod["spec"]["runtimeClassName"] == "gvisor"
        assert pod["spec"]["initContainers"] == list(first)


PATCH = """
metadata:
  annotations: {sidecar: "false"}
spec:
  priorityClassName: null
  hostAliases: [{ip: 10.0.0.7, hostnames: [store]}]
  securityContext: {runAsGroup: 5}
  containers:
    - name: main
      env: [{name: SITE, value: x}, {name: HOME, $patch: delete}]
      command: [other]
    - {name: sidecar, image: proxy}
"""


def test_pod_patch_is_merged_by_names_and_checked(tmp_path, capsys):
    file = tmp_path / "patch.yaml"
    file.write_text(PATCH)
    parser, _ = build_parser("submit")
    words = f"submit --name a --step train --env A=b --priority-class high --pod-patch {file}".split()
    pod = pods("job", launcher("kubernetes").render(spec_from_args(parser.parse_args(words))))["worker"]
    assert pod["metadata"]["annotations"] == {"sidecar": "false"} and pod["metadata"]["labels"]["fullpass/job"] == "a"
    assert "priorityClassName" not in pod["spec"] and pod["spec"]["hostAliases"][0]["ip"] == "10.0.0.7"
    assert pod["spec"]["securityContext"]["runAsGroup"] == 5 and pod["spec"]["securityContext"]["runAsNonRoot"] is True
    main, sidecar = pod["spec"]["containers"]
    assert sidecar == {"name": "sidecar", "image": "proxy"} and main["command"] == ["other"]
    names = [item["name"] for item in main["env"]]
    assert "SITE" in names and "A" in names and "HOME" not in names
    for wrong, said in (
        ({"spec": {"tolerances": []}}, "pod_patch.spec: unknown field 'tolerances'; known are .*tolerations"),
        (
            {"spec": {"containers": [{"name": "main", "env": [{"nam": "x"}]}]}},
            r"containers\[0\].env\[0\]: unknown field",
        ),
        ({"spec": {"hostNetwork": "yes"}}, "hostNetwork = 'yes': expected bool"),
        ({"spec": []}, "expected an object"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_patch(wrong)
    with pytest.raises(ConfigError, match="has no name"):
        merge_patch({"containers": []}, {"containers": [{"image": "x"}]})


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"metadata": {"labels": {"fullpass/job": "other"}}}, "fullpass/job is set by the launcher"),
        ({"metadata": {"labels": {"fullpass/job": None}}}, "fullpass/job is set by the launcher"),
        ({"metadata": {"labels": {"fullpass/runner": "flink"}}}, "fullpass/runner is set by the launcher"),
        ({"metadata": None}, "managed-by is set by the launcher"),
        ({"spec": None}, "container 'main', which runs the member, is gone"),
        ({"spec": {"containers": [{"name": "main", "$patch": "delete"}]}}, "container 'main'"),
        ({"spec": {"$patch": "replace", "containers": [{"name": "x", "image": "y"}]}}, "container 'main'"),
    ],
)
def test_patched_pod_stays_a_pod_of_its_job(patch, said):
    with pytest.raises(ConfigError, match=said):
        launcher("kubernetes").render(JobSpec(**BASE, pod_patch=patch))


def test_labels_by_which_policies_go_are_not_for_jobs_to_set():
    for label in ("fullpass/job", "fullpass/runner", "fullpass/beam-client", "app.kubernetes.io/managed-by"):
        with pytest.raises(ConfigError, match=f"labels: {label} is set by the launcher"):
            JobSpec(**BASE, labels={label: "flink"})
    pod = pods("job", launcher("kubernetes").render(JobSpec(**BASE, labels={"fullpass/serving-client": "true"})))[
        "worker"
    ]
    assert pod["metadata"]["labels"]["fullpass/serving-client"] == "true"


def test_values_of_variables_are_in_no_message_and_no_repr():
    with pytest.raises(ConfigError) as error:
        JobSpec(name="a", step="train", env={"A": 4711})  # type: ignore[dict-item]
    assert "4711" not in str(error.value)
    assert "hunter2" not in repr(JobSpec(name="a", step="train", env={"A": "hunter2"}))
    parser, _ = build_parser("submit")
    with pytest.raises(ConfigError) as error:
        spec_from_args(parser.parse_args(["submit", "--name", "a", "--step", "train", "--env", "hunter2"]))
    assert "hunter2" not in str(error.value)


def test_submit_creates_a_new_secret_and_a_policy_that_go_with_the_job(tmp_path):
    with recording_api(tmp_path, {}) as (kubeconfig, created):
        place = launcher("kubernetes", kubeconfig=kubeconfig)
        for _ in range(2):
            place.submit(JobSpec(**BASE, **GROUP))
    secrets = [obj for path, obj in created if path.startswith("/api/v1/namespaces/team/secrets")]
    values = [secret["stringData"]["secret"] for secret in secrets]
    assert len(set(values)) == 2 and all(len(bytes.fromhex(value)) == 16 for value in values), "128 bits, new each time"
    policies = [path for path, obj in created if obj["kind"] == "NetworkPolicy"]
    assert policies and all(
        p.startswith("/apis/networking.k8s.io/v1/namespaces/team/networkpolicies") for p in policies
    )
    for _, obj in created:
        if obj["kind"] in ("Secret", "NetworkPolicy", "Service"):
            assert obj["metadata"]["ownerReferences"][0]["kind"] == "Job"


@pytest.mark.parametrize("level", ["baseline", "restricted", "privileged", None])
def test_host_volumes_are_refused_where_the_namespace_forbids_them(tmp_path, level):
    labels = {"pod-security.kubernetes.io/enforce": level} if level else {}
    spec = JobSpec(**BASE, volumes=(Volume(mount_path="/data", host_path="/data"),))
    with recording_api(tmp_path, labels) as (kubeconfig, created):
        place = launcher("kubernetes", kubeconfig=kubeconfig)
        if level in ("baseline", "restricted"):
            with pytest.raises(ConfigError, match=f"volume at /data: namespace team enforces pod security '{level}'"):
                place.submit(spec)
            assert created == []
        else:
            place.submit(spec)
            assert created
