"""The Kubernetes launcher against an API server that refuses, breaks and races on request: submit, status, logs, cancel."""

from __future__ import annotations

import threading
import time

import pytest

from cluster.launchers import JobNotFound, JobState, LauncherError, launcher
from cluster.launchers.base import ConnectionLost
from cluster.spec import JobSpec, Volume
from engine import ConfigError
from tests.support.eventually import eventually
from tests.support.fake_kubernetes import FakeKubernetes

JOB = "/apis/batch/v1/namespaces/team/jobs"


@pytest.fixture
def fake():
    with FakeKubernetes() as server:
        yield server


@pytest.fixture
def place(fake, tmp_path):
    made = launcher("kubernetes", kubeconfig=fake.kubeconfig(tmp_path))
    made.patience_s, made.poll_s = 5.0, 0.05
    return made


def job(name: str = "clicks", **changes) -> JobSpec:
    return JobSpec(**{"name": name, "step": "train", "roles": {"worker": 2}, "files": {"a.py": "x = 1\n"}, **changes})


def follow(place, name: str, **options) -> tuple[list[str], threading.Thread]:
    """Collects a followed log in a thread."""
    seen: list[str] = []
    thread = threading.Thread(
        target=lambda: seen.extend(map(str, place.logs(name, follow=True, **options))), daemon=True
    )
    thread.start()
    return seen, thread


def test_submit_creates_every_object_and_the_job_owns_them(fake, place):
    place.submit(job())
    uid = fake.get("jobs", "clicks")["metadata"]["uid"]
    owned = [
        (kind, name) for kind in ("services", "configmaps", "secrets", "networkpolicies") for name in fake.names(kind)
    ]
    assert len(owned) == 4
    for kind, name in owned:
        (owner,) = fake.get(kind, name)["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Job", uid)
    assert [status.name for status in place.list()] == ["clicks"]


@pytest.mark.parametrize("plural", ["services", "configmaps", "secrets", "networkpolicies"])
def test_a_submit_that_fails_half_way_leaves_nothing(fake, place, plural):
    fake.fault = lambda method, path, _: (403, "no") if method == "POST" and path.endswith(plural) else None
    with pytest.raises(LauncherError, match="cannot create"):
        place.submit(job())
    assert not any(fake.names(each) for each in fake.installed)


def test_a_dry_run_asks_for_every_object_and_creates_none(fake, place):
    place.submit(job(), dry_run=True)
    assert sum(method == "POST" for method, _ in fake.requests) == 5
    assert not any(fake.names(each) for each in fake.installed)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (401, LauncherError, "the cluster does not accept these credentials"),
        (
            (
                403,
                'jobs is forbidden: User "ann" cannot create resource "jobs" in API group "batch" in the namespace "team"',
            ),
            LauncherError,
            "user 'ann' may not create jobs.batch in namespace team; ask for a Role with that verb",
        ),
        (
            (403, "exceeded quota: q, requested: pods=3, used: pods=9, limited: pods=10"),
            LauncherError,
            "quota q is exceeded",
        ),
        (503, ConnectionLost, "the API answered 503"),
        ("reset", ConnectionLost, "no connection to the Kubernetes API"),
    ],
)
def test_what_the_api_refuses_is_said_in_words(fake, place, fault, error, message):
    fake.fault = lambda *_: fault
    with pytest.raises(error, match=message):
        place.submit(job())


def test_a_kind_that_is_not_installed_names_what_to_install(fake, tmp_path):
    place = launcher("kubernetes", kind="jobset", kubeconfig=fake.kubeconfig(tmp_path))
    with pytest.raises(LauncherError, match=r"install .*, or use kind 'job'"):
        place.submit(job())


def test_the_same_name_twice_is_refused_and_the_first_stays(fake, place):
    place.submit(job())
    uid = fake.get("jobs", "clicks")["metadata"]["uid"]
    with pytest.raises(LauncherError, match="it is there already; cancel it first"):
        place.submit(job())
    assert fake.get("jobs", "clicks")["metadata"]["uid"] == uid and fake.names("secrets")


def test_a_name_that_was_cancelled_is_free_though_the_cluster_is_still_deleting(fake, place):
    place.submit(job())
    fake.collects = False
    fake._delete("jobs", "clicks", {}, {})
    collector = threading.Timer(1.0, fake.collect)
    collector.start()
    place.submit(job())  # Service, ConfigMap, Secret and policy of the job before are there for another second
    collector.join()
    uid = fake.get("jobs", "clicks")["metadata"]["uid"]
    for kind in ("services", "configmaps", "secrets", "networkpolicies"):
        (name,) = fake.names(kind)
        assert fake.get(kind, name)["metadata"]["ownerReferences"][0]["uid"] == uid


def test_directories_of_nodes_are_refused_where_the_namespace_forbids_them(fake, place, monkeypatch):
    monkeypatch.setattr(type(place.api), "pod_security", lambda self: "restricted")
    with pytest.raises(ConfigError, match="enforces pod security 'restricted'"):
        place.submit(job(volumes=(Volume(mount_path="/data", host_path="/data"),)))
    assert fake.names("jobs") == []


def test_status_tells_of_pods_as_they_come_fail_and_are_replaced(fake, place):
    handle = place.submit(job())
    assert handle.status().state is JobState.PENDING
    first = fake.add_pod("clicks", 0)
    fake.add_pod("clicks", 1)
    fake.set_status("clicks", active=2)
    assert handle.status().state is JobState.RUNNING
    fake.end_pod(first, 4, "loading\nValueError: no column age")
    time.sleep(1.1)  # times of creation have whole seconds
    fake.add_pod("clicks", 0)
    status = handle.status()
    member = status.tasks[0]
    assert (member.role, member.index, member.restarts) == ("worker", 0, 1)
    assert "exit code 4; its last lines: loading | ValueError: no column age" in member.message
    fake.set_status("clicks", condition="Complete", completionTime="2026-01-01T00:00:00Z")
    assert handle.wait(poll_s=0.05).state is JobState.SUCCEEDED


def test_logs_of_all_members_are_merged_and_end_with_the_job(fake, place):
    place.submit(job())
    pods = [fake.add_pod("clicks", index) for index in range(2)]
    seen, thread = follow(place, "clicks")
    for pod, text in zip(pods, ("left", "right")):
        fake.write(pod, f"{text} begins")
    for pod, text in zip(pods, ("left", "right")):
        fake.write(pod, f"{text} ends")
        fake.end_pod(pod)
    fake.set_status("clicks", condition="Complete")
    thread.join(60)
    assert sorted(seen) == [
        *("[worker-0] left begins", "[worker-0] left ends"),
        *("[worker-1] right begins", "[worker-1] right ends"),
    ]


def test_lines_of_one_moment_are_all_there(fake, place):
    place.submit(job(roles={"worker": 1}))
    pod = fake.add_pod("clicks")
    fake.write(pod, "one", "two", "three")
    fake.end_pod(pod)
    fake.set_status("clicks", condition="Complete")
    assert [line.text for line in place.logs("clicks", follow=True)] == ["one", "two", "three"]
    assert [line.text for line in place.logs("clicks")] == ["one", "two", "three"]
    assert [line.text for line in place.logs("clicks", tail=1)] == ["three"]


@pytest.mark.parametrize("cuts", [[3], [1, 2], [0, 0, 4]])
def test_a_broken_log_goes_on_where_it_broke_without_a_line_lost_or_twice(fake, place, cuts):
    place.submit(job(roles={"worker": 1}))
    pod = fake.add_pod("clicks")
    wanted = []
    for number in range(4):  # two lines of each moment: a cut can fall between them
        fake.write(pod, f"{number} a", f"{number} b")
        wanted += [f"[worker-0] {number} a", f"[worker-0] {number} b"]
        time.sleep(0.002)  # another moment
    fake.log_cut = list(cuts)
    seen, thread = follow(place, "clicks")
    eventually(lambda: not fake.log_cut, "the log was cut")
    fake.end_pod(pod)
    fake.set_status("clicks", condition="Complete")
    thread.join(60)
    assert seen == wanted


def test_following_outlives_an_api_that_is_away_for_a_moment(fake, place):
    place.submit(job(roles={"worker": 1}))
    pod = fake.add_pod("clicks")
    fake.write(pod, "before")
    away = [503, "reset", 429, 500]
    fake.fault = lambda method, path, _: away.pop() if away and path.endswith("/pods") else None
    seen, thread = follow(place, "clicks")
    eventually(lambda: not away, "it was away")
    fake.write(pod, "after")
    fake.end_pod(pod)
    fake.set_status("clicks", condition="Complete")
    thread.join(60)
    assert seen == ["[worker-0] before", "[worker-0] after"]


def test_following_gives_up_when_the_api_stays_away(fake, place):
    place.submit(job(roles={"worker": 1}))
    fake.add_pod("clicks")
    place.patience_s = 0.2
    lines = place.logs("clicks", follow=True)
    fake.fault = lambda *_: "reset"
    with pytest.raises(ConnectionLost):
        list(lines)


def test_a_job_that_is_not_there_is_said_at_once(fake, place):
    for call in (lambda: place.logs("nobody"), lambda: place.status("nobody"), lambda: place.cancel("nobody")):
        with pytest.raises(JobNotFound, match="nobody"):
            call()


def test_cancel_waits_until_the_pods_are_gone(fake, place):
    handle = place.submit(job())
    fake.add_pod("clicks", 0)
    fake.collects = False
    done = threading.Event()

    def cancel() -> None:
        handle.cancel()
        done.set()

    threading.Thread(target=cancel, daemon=True).start()
    eventually(lambda: fake.names("jobs") == [], "the job is gone")
    eventually(lambda: sum(path.endswith("/pods") for _, path in fake.requests) >= 2, "it was asked twice")
    assert not done.is_set(), "its pod is there"
    fake.collect()
    assert done.wait(60)
    assert not any(fake.names(each) for each in fake.installed)


def test_cancelling_while_a_log_is_followed_ends_the_log(fake, place):
    handle = place.submit(job(roles={"worker": 1}))
    pod = fake.add_pod("clicks")
    fake.write(pod, "up")
    seen, thread = follow(place, "clicks")
    eventually(lambda: seen, "a line is seen")
    handle.cancel()
    thread.join(60)
    assert not thread.is_alive() and seen == ["[worker-0] up"]
