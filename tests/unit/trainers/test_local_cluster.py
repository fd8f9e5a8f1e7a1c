"""Where the tasks of a group on one machine are: TF_CONFIG, the rendezvous, the secret."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
from types import SimpleNamespace

import pytest

from engine.core import environment
from tests.support.small_disk import file_system_at
from trainers.rendezvous.group_secret import group_secret
from trainers.supervision.failure_line import full_disk
from trainers.supervision.local_cluster import LocalCluster
from trainers.supervision.tf_config import task_from_env


def test_tasks_have_ports_of_their_own_one_rendezvous_and_one_secret(tmp_path):
    cluster = LocalCluster({"ps": 1, "worker": 2, "chief": 1}, "run", tmp_path / "secret")
    assert cluster.tasks == [("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0)]
    cluster.write_secret()
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    seen = {task: cluster.environment(task, {"A": "1", "TF_CONFIG": "another's"}) for task in cluster.tasks}
    for rank, task in enumerate(cluster.tasks):
        found = task_from_env(seen[task])
        assert (found.type, found.index, found.rank) == (*task, rank)
        assert [int(address.rpartition(":")[2]) for address in found.addresses] == cluster.ports
        assert seen[task]["A"] == "1" and environment.RUN_ID.read(seen[task]) == "run"
        assert environment.RENDEZVOUS.read(seen[task]) == cluster.rendezvous
        if environment.OWN_PORTS.read(seen[task]):
            assert environment.OWN_PORTS.read(seen[task]) == ",".join(map(str, cluster.ports))
    assert len({group_secret(env) for env in seen.values()}) == 1
    assert len({*cluster.ports, int(cluster.rendezvous.rpartition(":")[2])}) == 5
    cluster.remove_secret()
    cluster.remove_secret()
    assert not (tmp_path / "secret").exists()


def test_one_task_has_no_server_whose_port_would_need_a_guard(tmp_path):
    cluster = LocalCluster({"worker": 1}, "run", tmp_path / "secret")
    env = cluster.environment(("worker", 0), {})
    assert environment.OWN_PORTS.name not in env and len(json.loads(env["TF_CONFIG"])["cluster"]["worker"]) == 1


@pytest.mark.parametrize(("free", "named"), [(4096, True), (1 << 20, False)])
def test_a_file_system_without_room_is_named(tmp_path, monkeypatch, free, named):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    text = f"; no room is left on the file system of {tmp_path} ({free:,} bytes): make room, or write elsewhere"
    assert full_disk(tmp_path) == (text if named else "")


def test_a_full_disk_is_named_since_the_logs_on_it_cannot_say_so(tmp_path):
    assert full_disk(tmp_path) == full_disk(tmp_path / "missing") == ""
    with file_system_at(tmp_path, "256k") as mounted:
        if not mounted:
            pytest.skip("nothing may be mounted here")
        assert full_disk(tmp_path) == ""
        with contextlib.suppress(OSError):
            (tmp_path / "ballast").write_bytes(bytes(1 << 20))
        assert full_disk(tmp_path).startswith(f"; no room is left on the file system of {tmp_path} (")
