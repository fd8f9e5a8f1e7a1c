"""Answers of the API and states of pods, in words. The texts are those of real clusters."""

from __future__ import annotations

import json

import pytest

from cluster.launchers import JobState
from cluster.launchers.kubernetes.api.errors import explain
from cluster.launchers.kubernetes.diagnose import creation_trouble, pod_state, pod_trouble
from cluster.launchers.kubernetes.kinds.kind import kind


def pod(**status) -> dict:
    container = {"name": "main", "image": "r/x:1", "resources": {"requests": {"cpu": "4"}, "limits": {"memory": "2Gi"}}}
    return {"metadata": {"name": "p-0"}, "spec": {"containers": [container], "nodeName": "n1"}, "status": status}


def container(**state) -> dict:
    return {"containerStatuses": [{"name": "main", "image": "r/x:1", "state": state}]}


def answer(reason: str, message: str, **details) -> str:
    return json.dumps({"kind": "Status", "reason": reason, "message": message, "details": details})


def test_forbidden_names_verb_resource_and_namespace():
    body = answer(
        "Forbidden",
        'jobs.batch is forbidden: User "ada" cannot create resource "jobs" in API group "batch" in the namespace "ml"',
    )
    said = explain(403, body, "create Job x")
    assert said.startswith("cannot create Job x: user 'ada' may not create jobs.batch in namespace ml; ask for a Role")


def test_quota_gives_its_numbers():
    amounts = "requested: limits.memory=8Gi, used: limits.memory=60Gi, limited: limits.memory=64Gi"
    message = f'pods "x-0" is forbidden: exceeded quota: team, {amounts}'
    said = explain(403, answer("Forbidden", message), "create Pod x")
    assert (
        "quota team is exceeded: asked for limits.memory=8Gi, limits.memory=60Gi is in use, the limit is limits.memory=64Gi"
        in said
    )
    event = {"type": "Warning", "reason": "FailedCreate", "message": f"Error creating: {message}"}
    assert creation_trouble([event]).startswith("quota team is exceeded")
    assert creation_trouble([event, {"type": "Normal", "reason": "SuccessfulCreate"}]) == ""


@pytest.mark.parametrize(
    ("status", "body", "needs", "said"),
    [
        (401, "Unauthorized", "", "does not accept these credentials"),
        (404, "404 page not found\n", "JobSet (url)", "does not know it; install JobSet (url), or use kind 'job'"),
        (404, answer("NotFound", 'jobs.batch "x" not found', name="x"), "", 'jobs.batch "x" not found'),
        (409, answer("AlreadyExists", "it exists"), "", "is there already; cancel it first"),
        (
            422,
            answer("Invalid", "m", causes=[{"field": "spec.a", "message": "must be b"}]),
            "",
            "refuses spec.a: must be b",
        ),
        (500, "etcd is away", "", "etcd is away"),
    ],
)
def test_other_answers(status, body, needs, said):
    assert said in explain(status, body, "create Job x", needs)


def test_pods_that_wait_say_why():
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes: no cpu.",
    }
    assert pod_trouble(pod(conditions=[unschedulable])) == "no node can take it: 0/1 nodes: no cpu. It asks for cpu 4."
    waiting = container(waiting={"reason": "ImagePullBackOff", "message": 'Back-off pulling image "r/x:1"'})
    cause = {"reason": "Failed", "message": 'Failed to pull image "r/x:1": not found'}
    assert 'r/x:1 cannot be pulled: "r/x:1": not found; check the name' in pod_trouble(pod(**waiting), [cause])
    waiting = container(waiting={"reason": "CreateContainerConfigError", "message": 'secret "s" not found'})
    assert pod_trouble(pod(**waiting)) == 'its container cannot start: secret "s" not found'
    mount = {"reason": "FailedMount", "message": "claim is lost"}
    assert pod_trouble(pod(phase="Pending"), [mount]) == "FailedMount: claim is lost"


def test_pods_that_ended_say_how():
    killed = container(terminated={"reason": "OOMKilled", "exitCode": 137})
    assert pod_trouble(pod(**killed)).startswith("out of memory (OOMKilled): its memory reached the limit of 2Gi")
    said = "worker 0: out of memory, killed by signal 9 (SIGKILL): memory peaked at 2,048 MiB, the limit is 2,048 MiB"
    killed = container(terminated={"reason": "OOMKilled", "exitCode": 1, "message": said})
    told = "out of memory (OOMKilled): its memory peaked at 2,048 MiB, the limit is 2,048 MiB; raise the memory"
    assert pod_trouble(pod(**killed)).startswith(told)
    crashed = container(terminated={"reason": "Error", "exitCode": 139, "message": "a\nb\n"})
    assert pod_trouble(pod(**crashed)) == "exit code 139 (SIGSEGV); its last lines: a | b"
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    assert pod_trouble(evicted).startswith(
        "evicted from node n1: The node was low on resource: memory. Raise its memory"
    )
    full = pod(phase="Failed", reason="Evicted", message='Usage of EmptyDir volume "v" exceeds the limit "8Mi". ')
    assert pod_trouble(full).endswith('exceeds the limit "8Mi". Raise the size of that volume, or write less to it.')
    taken = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}
    assert pod_trouble(pod(conditions=[taken])) == "taken from node n1: PreemptionByScheduler: preempted"
    assert pod_trouble(pod(phase="Succeeded", **container(terminated={"exitCode": 0}))) == ""


def test_states_of_pods_and_jobs():
    assert pod_state(pod(phase="Running", **container(running={}))) is JobState.RUNNING
    assert pod_state(pod(phase="Running", **container(waiting={"reason": "CrashLoopBackOff"}))) is JobState.RESTARTING
    assert pod_state(pod(phase="Pending")) is JobState.PENDING
    job = {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "q"}}, "spec": {"completions": 2, "suspend": True}}
    assert kind("job").state(job) == (JobState.QUEUED, "waits for Kueue to admit it through queue 'q'")
    running = {"metadata": {}, "spec": {"completions": 2}, "status": {"active": 2}}
    assert kind("job").state(running)[0] is JobState.RUNNING
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
    assert kind("job").state({**running, "status": {"conditions": [failed]}}) == (
        JobState.FAILED,
        "DeadlineExceeded: too long",
    )
    printing = {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Running"}
    assert kind("rayjob").state({"status": printing})[0] is JobState.RUNNING
    assert kind("rayjob").state({"status": {**printing, "jobDeploymentStatus": "Complete"}})[0] is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("deployment", "job", "state"),
    [
        ("", "", JobState.PENDING),
        ("Initializing", "", JobState.PENDING),
        ("Waiting", "", JobState.PENDING),
        ("Running", "PENDING", JobState.PENDING),
        ("Running", "RUNNING", JobState.RUNNING),
        ("Running", "FAILED", JobState.RUNNING),
        ("Retrying", "FAILED", JobState.RESTARTING),
        ("Suspending", "RUNNING", JobState.QUEUED),
        ("Suspended", "", JobState.QUEUED),
        ("Complete", "SUCCEEDED", JobState.SUCCEEDED),
        ("Complete", "STOPPED", JobState.CANCELLED),
        ("Complete", "FAILED", JobState.FAILED),
        ("Complete", "", JobState.FAILED),
        ("Complete", "RUNNING", JobState.FAILED),
        ("Failed", "RUNNING", JobState.FAILED),
        ("ValidationFailed", "", JobState.FAILED),
    ],
)
def test_every_pair_of_states_that_kuberay_writes(deployment, job, state):
    """Its submitter's failure was taken for success where KubeRay says Complete then, and what it refuses was waited for."""
    status = {"jobDeploymentStatus": deployment, "jobStatus": job, "reason": "AppFailed", "message": "exit 1"}
    found, text = kind("rayjob").state({"status": status})
    assert found is state and (state is not JobState.FAILED or text == "AppFailed: exit 1")
    if deployment == "Complete" and state is JobState.FAILED and job != "FAILED":
        bare = {"jobDeploymentStatus": deployment, "jobStatus": job}
        assert "see the submitter's log" in kind("rayjob").state({"status": bare})[1]
