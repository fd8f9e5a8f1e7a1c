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
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import JobSpec, Resources
from tests.support.eventually import eventually
from tests.support.ports import listening, other_address, tree

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
PATIENCE_S = 400
# Drivers with a Ray of their own: Ray decides when it is imported what it listens on, so not in the process of the tests.
OWN = 'launcher("ray", address="local")'
CLUSTER = 'places.enter_context(two_raylets(cpus_each=4)) and launcher("ray", placement="SPREAD")'
DRIVER = """
import contextlib, sys, time
from cluster import JobSpec, launcher
from tests.support.servers.ray_cluster import two_raylets
with contextlib.ExitStack() as places:
    handle = ({place}).submit(JobSpec.from_json(sys.argv[1]))
    while not handle.status().state.finished:
        time.sleep(1)
    print(handle.status(), flush=True)
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


@contextlib.contextmanager
def family_that_trains(place: str, directory: Path, **variables: str) -> Iterator[list[int]]:
    """A driver whose job trains: its pid and those of all that came from it, which are gone afterwards."""
    words = [sys.executable, "-c", DRIVER.format(place=place), training(directory / "out").to_json()]
    log = directory / "driver.log"
    with open(log, "w") as file:
        driver = subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    family = [driver.pid]
    try:

        def begun() -> bool:
            assert driver.poll() is None, log.read_text()
            return trains(directory / "out")

        eventually(begun, "the job trains", timeout_s=PATIENCE_S)
        family = tree(driver.pid)
        yield family
    finally:
        family = list({*family, *tree(driver.pid)})
        os.killpg(driver.pid, signal.SIGTERM)
        try:
            driver.wait(60)
        finally:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_a_ray_of_our_own_and_its_job_listen_on_loopback_alone(tmp_path):
    with family_that_trains(OWN, tmp_path, HOME=str(tmp_path)) as family:
        found = listening(family)
        assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
        assert found and all(ipaddress.ip_address(address).is_loopback for address, _ in found), found
        rendezvous, workers = ports_of(members(family)[0])
        assert listening(members(family)) == {split(rendezvous), *map(split, workers)}
        other = other_address()
        for _, port in found if other else ():
            with pytest.raises(ConnectionRefusedError), socket.create_connection((other, port), timeout=10):
                pass


def test_members_of_a_cluster_listen_on_their_documented_ports_alone(tmp_path):
    if other_address() is None:
        pytest.skip("this machine has no address but those of loopback, on which a group stays then")
    with family_that_trains(CLUSTER, tmp_path) as family:
        ours = members(family)
        rendezvous, workers = ports_of(ours[0])
        # TensorFlow binds all interfaces, as IPv4's where the machine has no IPv6; the rendezvous the node's own address.
        found = listening(ours)
        everywhere = found - {split(rendezvous)}
        assert split(rendezvous) in found and {port for _, port in everywhere} == {
            split(worker)[1] for worker in workers
        }
        assert {address for address, _ in everywhere} <= {"::", "0.0.0.0"}, everywhere
