"""JobSpec: what is refused, what is kept, what comes back from JSON."""

from __future__ import annotations

import json

import pytest

from cluster import JobSpec, Resources, SecretEnv, Toleration, Volume
from engine import ConfigError


def spec(**changes) -> JobSpec:
    return JobSpec(**{"name": "clicks", "step": "train", **changes})


def test_json_round_trip_keeps_every_field():
    full = spec(
        args=("--epochs", "2"),
        roles={"chief": 1, "worker": 3, "ps": 2, "evaluator": 1},
        global_batch_size=1024,
        image="registry.example/fullpass:1",
        image_pull_policy="Always",
        image_pull_secrets=("registry",),
        resources=Resources(cpu="4", memory="16Gi", gpu=2),
        role_resources={"ps": Resources(cpu="2", memory="4Gi")},
        env={"A": "1"},
        secrets=(SecretEnv(name="TOKEN", secret="store", key="token"),),
        volumes=(
            Volume(mount_path="/data", claim="training", read_only=True, sub_path="clicks"),
            Volume(mount_path="/cache", empty_dir=True, medium="Memory", size="1Gi"),
            Volume(mount_path="/host", host_path="/mnt"),
        ),
        files={"clicks.py": "x = 1\n"},
        working_dir="/data",
        node_selector={"cloud.google.com/gke-nodepool": "big"},
        tolerations=(Toleration(key="spot", operator="Equal", value="true", effect="NoSchedule"),),
        priority_class="high",
        queue="team",
        timeout_s=3600,
        keep_s=None,
        grace_s=30,
        max_restarts=5,
        silent_after_s=90,
        labels={"team": "ads"},
        service_account="trainer",
        run_as_user=1000,
        read_only_root=False,
    )
    assert JobSpec.from_json(full.to_json()) == full
    assert JobSpec.from_json(spec().to_json()) == spec()
    assert json.loads(spec().to_json()) == {"version": 1, "name": "clicks", "step": "train"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Clicks"}, "a letter first"),
        ({"name": "-clicks"}, "a letter first"),
        ({"name": "1clicks"}, "a letter first"),
        ({"name": "clicks_train"}, "a-z, 0-9 and '-'"),
        ({"name": "c" * 41}, "41 characters"),
        ({"step": None}, "exactly one of pipeline, step, module, command; seen none"),
        ({"module": "train.py"}, "seen step, module"),
        ({"args": "--epochs 2"}, "expected a list"),
        ({"roles": {"master": 1}}, "roles: got 'master'"),
        ({"roles": {"worker": 0}}, "a whole number from 1"),
        ({"roles": {"chief": 2}}, "only one"),
        ({"roles": {"ps": 1}}, "at least one worker"),
        ({"roles": {"chief": 1, "ps": 1}}, "need workers"),
        ({"step": "analyze", "roles": {"worker": 2}}, "step 'analyze' runs in one pod"),
        ({"step": None, "pipeline": "p.toml", "roles": {"worker": 2}}, "a pipeline runs in one pod"),
        ({"roles": {"worker": 3}, "global_batch_size": 1024}, "the nearest are 1023 and 1026"),
        ({"roles": {"worker": 2}, "resources": Resources(gpu=4), "global_batch_size": 4}, "8 replicas"),
        ({"role_resources": {"ps": Resources()}}, "not in roles"),
        ({"env": {"TF_CONFIG": "{}"}}, "set by the launcher"),
        ({"env": {"A B": "1"}}, "'A B' is not the name"),
        ({"env": {"A": 1}}, "env.A: got a value that is not shown (int)"),
        ({"env": {"A": "1"}, "secrets": (SecretEnv(name="A", secret="s", key="k"),)}, "given twice"),
        ({"labels": {"a b": "c"}}, "label 'a b'"),
        ({"labels": {"a": "c" * 64}}, "at most 63"),
        ({"labels": {f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 63}/x": "c"}}, "the prefix of label"),
        ({"annotations": {"a b": "c"}}, "annotation 'a b'"),
        ({"annotations": {1: "c"}}, "annotations: annotation 1 is no text; put it in quotes"),
        ({"labels": {1: "c"}}, "labels: label 1 is no text; put it in quotes"),
        ({"annotations": {"/a": "c"}}, "the prefix of annotation"),
        ({"annotations": {"a": "\ud800"}}, "of whole characters"),
        ({"annotations": {"fullpass/roles": "{}"}}, "set by the launcher"),
        ({"annotations": {"a": "c" * (256 << 10)}}, "262,145 bytes in all; Kubernetes takes 262,144"),
        ({"queue": "Team"}, "queue: got 'Team'"),
        ({"image": "fullpass latest"}, "expected the name of an image"),
        ({"image_pull_policy": "Sometimes"}, "expected Always"),
        ({"volumes": (Volume(mount_path="/a", claim="x"), Volume(mount_path="/a/", claim="y"))}, "mounted twice"),
        ({"volumes": (Volume(mount_path="/a", empty_dir=True, medium="Memory", size="2Gi"),)}, "take 2Gi of the 2Gi"),
        ({"files": {"a/b.py": ""}}, "plain file name"),
        ({"files": {".": ""}}, "plain file name"),
        ({"files": {"a.py": "x" * (1 << 20)}}, "use a volume"),
        ({"timeout_s": 0}, "from 1"),
        ({"max_restarts": -1}, "from 0"),
        ({"working_dir": "data"}, "absolute"),
        (
            {
                "roles": {"worker": 3},
                "resources": Resources(tpu=4, tpu_accelerator="tpu-v4-podslice", tpu_topology="2x2x2"),
            },
            "is 2 nodes of 4 chips; worker = 3",
        ),
    ],
)
def test_refuses_what_could_not_run(changes, said):
    with pytest.raises(ConfigError) as error:
        spec(**changes)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cpu": "four"}, "expected a Kubernetes quantity"),
        ({"cpu": "0"}, "positive"),
        ({"cpu": "0.0001"}, "steps of '1m'"),
        ({"cpu": "4000"}, "'1m'"),
        ({"memory": "512m"}, "expected at least 32Mi"),
        ({"memory": "8GB"}, "expected a Kubernetes quantity"),
        ({"gpu": -1}, "from 0"),
        ({"gpu": 1, "tpu": 4}, "the one or the other"),
        ({"tpu": 3}, "1, 4, 8"),
        ({"tpu": 4}, "needs tpu_accelerator"),
        ({"tpu_topology": "2x4"}, "need tpu"),
        ({"tpu": 4, "tpu_accelerator": "t", "tpu_topology": "2by4"}, "expected e.g. '2x4'"),
        ({"tpu": 8, "tpu_accelerator": "t", "tpu_topology": "2x2"}, "expected a multiple"),
    ],
)
def test_refuses_resources_that_make_no_sense(fields, said):
    with pytest.raises(ConfigError) as error:
        Resources(**fields)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mount_path": "data", "claim": "x"}, "absolute"),
        ({"mount_path": "/", "claim": "x"}, "below '/'"),
        ({"mount_path": "/a/../b", "claim": "x"}, "without '.'"),
        ({"mount_path": "/a"}, "seen none"),
        ({"mount_path": "/a", "claim": "x", "empty_dir": True}, "exactly one"),
        ({"mount_path": "/a", "claim": "X"}, "claim: got 'X'"),
        ({"mount_path": "/a", "host_path": "b"}, "expected an absolute path"),
        ({"mount_path": "/a", "claim": "x", "size": "1Gi"}, "belong to empty_dir"),
        ({"mount_path": "/a", "empty_dir": True, "medium": "Memory"}, "needs a size"),
        ({"mount_path": "/a", "claim": "x", "sub_path": "../b"}, "without '..'"),
    ],
)
def test_refuses_volumes_that_could_not_be_mounted(fields, said):
    with pytest.raises(ConfigError) as error:
        Volume(**fields)
    assert said in str(error.value)


def test_refuses_unknown_keys_and_newer_versions():
    with pytest.raises(ConfigError, match="worker: unknown key"):
        JobSpec.from_json('{"name": "a", "step": "train", "worker": 2}')
    with pytest.raises(ConfigError, match=r"volumes\[0\]\.path: unknown key"):
        JobSpec.from_json('{"name": "a", "step": "train", "volumes": [{"path": "/a"}]}')
    with pytest.raises(ConfigError, match="version: got 2; expected 1"):
        JobSpec.from_json('{"version": 2, "name": "a", "step": "train"}')
    with pytest.raises(ConfigError, match="not JSON"):
        JobSpec.from_json("{")


def test_words_of_each_kind_of_work():
    assert spec(args=("--epochs", "2")).words("py") == [
        *(
            "py",
            "-m",
            "trainers.supervision.worker",
            "--max-restarts",
            "3",
            "--silent-after",
            "60",
            "--grace",
            "55",
            "--",
        ),
        *("-m", "cluster.cli.main", "train", "--epochs", "2"),
    ]
    assert spec(step="analyze").words("py") == ["py", "-m", "cluster.cli.main", "analyze"]
    assert spec(step=None, pipeline="p.toml").words("py") == ["py", "-m", "cluster.cli.main", "run", "p.toml"]
    assert spec(step=None, module="train.py").words("py")[-1] == "train.py"
    assert spec(step=None, module="pkg.train").words("py")[-2:] == ["-m", "pkg.train"]
    assert spec(step=None, module="pkg.train:main").words("py")[-1] == "pkg.train:main"
    assert spec(step=None, command=("sh", "-c", "true")).words("py") == ["sh", "-c", "true"]


def test_exit_codes_that_no_restart_mends():
    assert spec().final_exit_codes == (1, 2, 3, 4)
    assert spec(step="evaluate").final_exit_codes == (2, 3, 4)
    assert spec(step=None, command=("sh",)).final_exit_codes == (2,)


def test_members_come_in_the_order_of_ranks():
    roles = {"ps": 1, "worker": 2, "evaluator": 1, "chief": 1}
    members = [("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0), ("evaluator", 0)]
    assert spec(roles=roles).members() == members
    assert spec(roles={"worker": 2}, resources=Resources(gpu=4)).num_replicas == 8
