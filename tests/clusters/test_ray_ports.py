"""What listens while jobs run on Ray: exactly the ports of docs/security.md, on its interfaces; on loopback where Ray is started here."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import JobSpec, Resources
from tests.support.eventually import eventually
from tests.support.ports import listening, other_address, tree

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
PATIENCE_S = 400
# A driver with a Ray of its own: Ray decides when it is imported what it listens on, so not in the process of the tests.
DRIVER = """
import sys, time
from cluster import JobSpec, launcher
handle = launcher("ray", address="local").submit(JobSpec.from_json(sys.argv[1]))
while True:
    print(handle.status().state, flush=True)
    time.sleep(1)
"""


def training(directory: Path) -> JobSpec:
    """Two workers that train until they are stopped."""
    settings = {"strategy": "multi_worker_mirrored", "records": 1920, "epochs": 1000, "pause_s": 0.3}
    return JobSpec(
        name="ports",
        module="tests.support.group_target:train",
        args=(str(directory), json.dumps(settings)),
        roles={"worker": 2},
        resources=Resources(cpu="1", memory="1Gi"),
        env={"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
        grace_s=2,
    )


def trains(directory: Path) -> bool:
    return bool(list((directory / "audit").rglob("*.npy")))


def environment(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return {name.decode(): value.decode() for name, _, value in (word.partition(b"=") for word in words) if name}
    return {}


def members(pids: list[int]) -> list[int]:
    """Those of the processes that are a member's supervisor or come from one."""
    return [pid for pid in pids if "TF_CONFIG" in environment(pid)]


def ports_of(pid: int) -> tuple[str, list[str]]:
    """The rendezvous and the addresses of TensorFlow's ports, as the process was told."""
    told = environment(pid)
    return told["FULLPASS_RENDEZVOUS"], json.loads(told["TF_CONFIG"])["cluster"]["worker"]


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def test_a_ray_of_our_own_and_its_job_listen_on_loopback_alone(tmp_path):
    words = [sys.executable, "-c", DRIVER, training(tmp_path / "out").to_json()]
    log = open(tmp_path / "driver.log", "w")  # noqa: SIM115
    env = {**os.environ, "HOME": str(tmp_path)}
    driver = subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:

        def begun() -> bool:
            assert driver.poll() is None, (tmp_path / "driver.log").read_text()
            return trains(tmp_path / "out")

        eventually(begun, "the job trains", timeout_s=PATIENCE_S)
        family = tree(driver.pid)
        found = listening(family)
        assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
        assert found and all(ipaddress.ip_address(address).is_loopback for address, _ in found), found
        rendezvous, workers = ports_of(members(family)[0])
        assert listening(members(family)) == {split(rendezvous), *map(split, workers)}
        other = other_address()
        for _, port in found if other else ():
            with pytest.raises(ConnectionRefusedError), socket.create_connection((other, port), timeout=10):
                pass
    finally:
        os.killpg(driver.pid, signal.SIGTERM)
        try:
            driver.wait(60)
        finally:
            for pid in [driver.pid, *tree(driver.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            log.close()


def test_members_of_a_cluster_listen_on_their_documented_ports_alone(ray_launcher, tmp_path):
    if other_address() is None:
        pytest.skip("this machine has no address but those of loopback, on which a group stays then")
    handle = ray_launcher.submit(training(tmp_path / "out"))

    def begun() -> bool:
        assert not handle.status().state.finished, handle.status()
        return trains(tmp_path / "out")

    eventually(begun, "the job trains", timeout_s=PATIENCE_S)
    actors = [int(task.where.split("pid ")[1].split()[0]) for task in handle.status().tasks]
    ours = members([pid for actor in actors for pid in tree(actor)])
    rendezvous, workers = ports_of(ours[0])
    # TensorFlow binds all interfaces, as IPv4's where the machine has no IPv6; the rendezvous the node's own address.
    found = listening(ours)
    everywhere = found - {split(rendezvous)}
    assert split(rendezvous) in found and {port for _, port in everywhere} == {split(worker)[1] for worker in workers}
    assert {address for address, _ in everywhere} <= {"::", "0.0.0.0"}, everywhere
    handle.cancel()
