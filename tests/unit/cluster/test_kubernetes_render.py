"""Objects that the kinds of Kubernetes jobs render: names, places in TF_CONFIG, safety."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cluster import JobSpec, Resources, SecretEnv, Toleration, Volume, launcher
from cluster.launchers.kubernetes.kinds.kind import KINDS
from cluster.launchers.kubernetes.kinds.kind import kind as kind_named
from cluster.launchers.ray.requirements import check_supported
from cluster.members.place import place
from engine import ConfigError
from trainers.supervision.tf_config import task_from_json

BASE = {"name": "clicks", "step": "train", "image": "fullpass:1"}


def render(kind: str, **changes) -> list[dict]:
    return launcher("kubernetes", kind=kind).render(JobSpec(**{**BASE, **changes}))


def pods(kind: str, objects: list[dict]) -> dict[str, dict]:
    """Returns role → pod template, from wherever the kind has it."""
    main = objects[0]["spec"]
    if kind == "job":
        found = [main["template"]]
    elif kind == "jobset":
        found = [job["template"]["spec"]["template"] for job in main["replicatedJobs"]]
    elif kind == "trainjob":
        found = [
            job["template"]["spec"]["template"] for job in objects[1]["spec"]["template"]["spec"]["replicatedJobs"]
        ]
    elif kind == "tfjob":
        found = [replica["template"] for replica in main["tfReplicaSpecs"].values()]
    else:
        cluster = main["rayClusterSpec"]
        found = [group["template"] for group in (*cluster["workerGroupSpecs"], cluster["headGroupSpec"])]
    return {pod["metadata"]["labels"].get("fullpass/role", "all"): pod for pod in found}


def variables(pod: dict) -> dict[str, str]:
    return {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_pod_runs_with_least_privilege(kind):
    for role, pod in pods(kind, render(kind, roles={"worker": 2})).items():
        container = pod["spec"]["containers"][0]
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        amounts = container["resources"]
        assert amounts["requests"]["memory"] == amounts["limits"]["memory"]
        assert role == "head" or amounts["requests"] == amounts["limits"]  # Ray's head idles while members work
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_rendering_is_deterministic_and_labelled(kind):
    changes = {"roles": {"worker": 2}, "labels": {"team": "ads"}, "files": {"a.py": "x = 1\n"}}
    objects = render(kind, **changes)
    assert objects == render(kind, **changes)
    for obj in objects:
        assert obj["metadata"]["labels"]["fullpass/job"] == "clicks"
        assert obj["metadata"]["labels"]["team"] == "ads"
    config = next(obj for obj in objects if obj["kind"] == "ConfigMap")
    assert config["data"]["a.py"] == "x = 1\n"


@pytest.mark.parametrize(
    ("kind", "host"),
    [("job", "clicks-{}.clicks"), ("jobset", "clicks-worker-0-{}.clicks"), ("trainjob", "clicks-node-0-{}.clicks")],
)
def test_each_pod_gets_its_place_from_its_completion_index(kind, host):
    template = pods(kind, render(kind, roles={"worker": 3}))["worker"]
    text = variables(template)["TF_CONFIG"]
    for index in range(3):  # what the kubelet puts into the text
        task = task_from_json(text.replace("$(FULLPASS_INDEX)", str(index)))
        assert (task.type, task.index) == ("worker", index)
        assert list(task.cluster["worker"]) == [f"{host.format(i)}:2222" for i in range(3)]


def test_a_job_of_several_roles_finds_its_place_in_the_pod():
    objects = render("job", roles={"chief": 1, "worker": 2, "ps": 2})
    template = pods("job", objects)["all"]
    addresses = json.loads(variables(template)["FULLPASS_CLUSTER"])
    members = [place(addresses, index) for index in range(5)]
    assert members == [("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0), ("ps", 1)]
    assert addresses["ps"] == ["clicks-3.clicks:2222", "clicks-4.clicks:2222"]
    assert template["spec"]["containers"][0]["command"][:3] == ["python", "-m", "cluster.members.place"]
    # Parameter servers never end: the chief and the workers decide.
    assert objects[0]["spec"]["successPolicy"] == {"rules": [{"succeededIndexes": "0-2"}]}
    with pytest.raises(ConfigError, match="5 members"):
        place(addresses, 5)


@pytest.mark.parametrize(
    ("kind", "roles"),
    [
        *((kind, {"worker": 2}) for kind in sorted(KINDS)),
        *((kind, {"chief": 1, "worker": 2}) for kind in sorted(KINDS) if kind != "trainjob"),  # which has equal nodes
    ],
)
def test_annotations_of_a_job_and_of_its_patch_are_on_every_pod(kind, roles):
    objects = render(kind, roles=roles, annotations={"a.b/c": "d"}, pod_patch={"metadata": {"annotations": {"e": "f"}}})
    for template in pods(kind, objects).values():
        assert {"a.b/c": "d", "e": "f"}.items() <= template["metadata"]["annotations"].items()


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"annotations": {"a b": "c"}}, "annotation 'a b'"),
        ({"annotations": {1: "c"}}, "annotation 1 is no text; put it in quotes"),
        ({"labels": {True: "c"}}, "label True is no text; put it in quotes"),
        ({"annotations": {"fullpass/roles": "{}"}}, "fullpass/roles is set by the launcher"),
        ({"labels": {"a b": "c"}}, "label 'a b'"),
        ({"labels": {"a": "b" * 64}}, "at most 63"),
    ],
)
def test_a_patch_with_names_that_the_api_would_refuse_is_refused_before(metadata, said):
    with pytest.raises(ConfigError, match=rf"pod_patch\.metadata\.\w+: .*{said}"):
        render("job", pod_patch={"metadata": metadata})


def test_roles_with_resources_of_their_own_need_a_kind_that_has_them():
    changes = {"roles": {"worker": 2, "ps": 1}, "role_resources": {"ps": Resources(cpu="3", memory="1Gi")}}
    with pytest.raises(ConfigError, match="need kind 'jobset' or 'tfjob'"):
        render("job", **changes)
    for kind in ("jobset", "tfjob", "rayjob"):
        found = pods(kind, render(kind, **changes))
        assert found["ps"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "3"
        assert found["worker"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1"
    with pytest.raises(ConfigError, match="only have workers"):
        render("trainjob", roles={"worker": 2, "ps": 1})


def test_tpu_pods_ask_for_their_slice():
    tpu = Resources(cpu="8", memory="16Gi", tpu=4, tpu_accelerator="tpu-v5-lite-podslice", tpu_topology="2x4")
    pod = pods("job", render("job", roles={"worker": 2}, resources=tpu))["worker"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "2x4",
    }
    assert pod["containers"][0]["resources"]["limits"]["google.com/tpu"] == "4"
    assert {"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]


def test_words_and_values_reach_the_program_as_they_are():
    changes = {"step": None, "command": ("sh", "-c", "echo $(hostname)"), "env": {"A": "$(B)"}}
    pod = pods("job", render("job", **changes))["worker"]
    # Kubernetes reads $$(NAME) as $(NAME); $(NAME) alone would be a variable.
    assert pod["spec"]["containers"][0]["command"][-1] == "echo $$(hostname)"
    assert variables(pod)["A"] == "$$(B)"


def test_the_rest_of_the_description_is_in_the_pod():
    objects = render(
        "job",
        secrets=(SecretEnv(name="TOKEN", secret="store", key="token"),),
        volumes=(
            Volume(mount_path="/data", claim="training", sub_path="a", read_only=True),
            Volume(mount_path="/cache", empty_dir=True, medium="Memory", size="64Mi"),
        ),
        tolerations=(Toleration(key="spot"),),
        node_selector={"pool": "big"},
        priority_class="high",
        queue="team",
        timeout_s=600,
        image_pull_secrets=("registry",),
        service_account="trainer",
        run_as_user=1234,
    )
    job, pod = objects[0], objects[0]["spec"]["template"]["spec"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team" and job["spec"]["suspend"] is True
    assert job["spec"]["activeDeadlineSeconds"] == 600
    token = next(item for item in pod["containers"][0]["env"] if item["name"] == "TOKEN")
    assert token == {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "store", "key": "token"}}}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "training"}
    assert pod["volumes"][1]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}
    assert pod["containers"][0]["volumeMounts"][0] == {
        "name": "volume-0",
        "mountPath": "/data",
        "readOnly": True,
        "subPath": "a",
    }
    assert pod["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert pod["nodeSelector"] == {"pool": "big"} and pod["priorityClassName"] == "high"
    assert pod["imagePullSecrets"] == [{"name": "registry"}] and pod["serviceAccountName"] == "trainer"
    assert pod["securityContext"]["runAsUser"] == 1234 and pod["securityContext"]["fsGroup"] == 1234


def test_a_ray_job_carries_its_own_description():
    volume = Volume(mount_path="/data", claim="training")
    plain = JobSpec(**BASE, roles={"worker": 2}, env={"A": "b"})
    spec = dataclasses.replace(plain, volumes=(volume,), run_as_user=1234, node_selector={"pool": "big"})
    objects = launcher("kubernetes", kind="rayjob").render(spec)
    carried = JobSpec.from_json(objects[1]["data"]["job.json"])
    assert carried == plain  # the rest the pods have
    check_supported(carried)
    assert objects[0]["spec"]["entrypoint"].endswith("--spec /fullpass/files/job.json")
    # It would be how long the nodes of a finished job stay up.
    assert "ttlSecondsAfterFinished" not in objects[0]["spec"]


def test_lines_that_a_ray_jobs_submitter_prints_are_its_members():
    ray = kind_named("rayjob")
    assert str(ray.line("submitter", 0, "[ps-1] loss [0.5]")) == "[ps-1] loss [0.5]"
    assert str(ray.line("submitter", 0, "Job 'a' succeeded")) == "[submitter-0] Job 'a' succeeded"
    assert str(ray.line("head", 0, "[worker-1] x")) == "[head-0] [worker-1] x"


def test_unknown_kinds_and_options_are_refused():
    with pytest.raises(ConfigError, match="expected one of job, jobset"):
        launcher("kubernetes", kind="cronjob")
    with pytest.raises(ConfigError, match="no option colour"):
        launcher("kubernetes", colour="red")
    with pytest.raises(ConfigError, match="expected one of local"):
        launcher("slurm")


def _expanded(text):
    """What a container gets of a word or value, by the rules of Kubernetes' documentation (third_party/forked/golang/expansion)."""
    out, at = "", 0
    while at < len(text):
        if text[at] == "$" and at + 1 < len(text):
            if text[at + 1] == "$":
                out, at = out + "$", at + 2
                continue
            if text[at + 1] == "(" and (end := text.find(")", at)) > 0:
                out, at = out + f"<{text[at + 2 : end]}>", end + 1
                continue
        out, at = out + text[at], at + 1
    return out


@pytest.mark.parametrize(
    "text", ["pa$$word", "$$", "$", "$$$", "$(A)", "$$(A)", "$$$(A)", "kill $$", "a$b$(", "x$", "$(A)$$"]
)
def test_words_and_values_reach_the_program_as_they_were_given(text):
    spec = JobSpec(name="a", image="b", command=("echo", text), env={"A": text})
    pod = launcher("kubernetes").render(spec)[0]["spec"]["template"]
    assert _expanded(pod["spec"]["containers"][0]["command"][-1]) == text
    assert _expanded(variables(pod)["A"]) == text


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_no_program_can_be_given_is_refused_and_a_value_is_not_shown(text):
    with pytest.raises(ConfigError, match=r"env\.A: its value has a NUL") as error:
        JobSpec(name="a", image="b", command=("c",), env={"A": "secret" + text})
    assert "secret" not in str(error.value)
    with pytest.raises(ConfigError, match="which no program can be given"):
        JobSpec(name="a", image="b", command=("c", text))
