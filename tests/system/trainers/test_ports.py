"""What a run on one machine listens on: exactly the ports of docs/security.md, for this machine and this user alone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.machine import own_ports
from tests.support.ports import listening, other_address, tree
from trainers.supervision.local_group import LocalGroup

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = str(Path(__file__).parents[3])
NOBODY = 65534
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # RFC 9113, 3.4


def start(directory: Path, workers: int) -> LocalGroup:
    settings = json.dumps({"records": 3200, "every_steps": 5000, "epochs": 100, "pause_s": 0.2})
    target = ["tests.support.group_target:train", str(directory / "out"), settings]
    group = LocalGroup(workers, target, directory / "logs", env={"PYTHONPATH": ROOT}).start()
    until = time.monotonic() + 240
    while not list((directory / "out" / "audit").rglob("*.npy")):
        assert group.wait(timeout_s=0.1) is None and time.monotonic() < until, (
            directory / "logs/worker-0.log"
        ).read_text()
    return group


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    running = start(tmp_path_factory.mktemp("group"), 2)
    yield running
    running.stop(grace_s=0.0)


def processes(group: LocalGroup) -> list[int]:
    return [each for pid in group.pids.values() for each in tree(pid)]


def test_group_listens_on_the_documented_ports_of_loopback_and_nothing_else(group):
    rendezvous = int(group.rendezvous.rpartition(":")[2])
    assert listening(processes(group)) == {("127.0.0.1", port) for port in (rendezvous, *group.ports)}


def test_run_of_one_worker_listens_on_its_rendezvous_alone(tmp_path):
    running = start(tmp_path, 1)
    try:
        (found,) = listening(processes(running))
        assert found == ("127.0.0.1", int(running.rendezvous.rpartition(":")[2]))
    finally:
        running.stop(grace_s=0.0)


def test_group_is_not_reached_over_the_network(group):
    address = other_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    for port in (int(group.rendezvous.rpartition(":")[2]), *group.ports):
        with pytest.raises(ConnectionRefusedError), socket.create_connection((address, port), timeout=10):
            pass
    for port in group.ports:  # while its own user gets in, and is answered with HTTP/2's first frame
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(HTTP2)
            assert connection.recv(9)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_group_hangs_up_on_another_user_of_the_machine(group):
    program = (
        "import encodings.idna, os, socket, sys\n"
        f"if sys.argv[2] == 'other': os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "connection = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=10)\n"
        "try:\n"
        f"    connection.sendall({HTTP2!r})\n"
        "    print(len(connection.recv(9)))\n"
        "except ConnectionError: print(0)\n"
    )
    for port in group.ports:
        for user, answer in (("other", "0"), ("same", "9")):
            command = [sys.executable, "-I", "-c", program, str(port), user]
            done = subprocess.run(command, capture_output=True, text=True, cwd="/")
            assert done.stdout.strip() == answer, done.stderr
    assert group.poll() is None, "the run goes on"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_own_ports_know_their_user_by_address_and_port():
    """Every address of 127/8 is everybody's: a stranger may take the port of the user's own connection there."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    server = (
        "import socket, threading\n"
        f"server = socket.create_server(('', {port}))\n"
        "print('ready', flush=True)\n"
        "def answer(connection):\n"
        "    with connection:\n"
        "        while connection.recv(9): connection.sendall(b'in')\n"
        "while True: threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()\n"
    )
    stranger = (
        "import encodings.idna, os, socket, sys\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "for last in range(2, 62):\n"
        "    with socket.socket() as connection:\n"
        "        connection.settimeout(10)\n"
        "        connection.bind((f'127.0.0.{last}', int(sys.argv[1])))\n"
        "        try:\n"
        f"            connection.connect(('127.0.0.1', {port})); connection.sendall(b'me')\n"
        "            print(last, connection.recv(9).decode())\n"
        "        except ConnectionError: print(last)\n"
    )
    env = {**os.environ, **own_ports.own_ports_env([port], {})}
    with subprocess.Popen([sys.executable, "-c", server], env=env, stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None and running.stdout.readline() == b"ready\n"
            with socket.create_connection(("127.0.0.1", port), timeout=10) as own:
                own.sendall(b"me")
                assert own.recv(9) == b"in"
                command = [sys.executable, "-I", "-c", stranger, str(own.getsockname()[1])]
                done = subprocess.run(command, capture_output=True, text=True, cwd="/")
                own.sendall(b"me")
                assert own.recv(9) == b"in", "its own user stays"
        finally:
            running.kill()
    assert [line for line in done.stdout.splitlines() if "in" in line] == [] and "61" in done.stdout, done


def test_own_ports_warns_once_by_name_where_they_cannot_be_kept(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "darwin")  # which has no library that loads before others
    for _ in range(2):
        assert own_ports.own_ports_env([4711, 4712], {}, "Nobody") == {}
    said = capsys.readouterr().err
    assert said.count("warning:") == 1 and "4711,4712" in said and "firewall" in said and "docs/security.md" in said


def test_own_ports_leave_other_ports_and_preloads_as_they_are(tmp_path):
    env = own_ports.own_ports_env([4711], {"LD_PRELOAD": "/lib/other.so"})
    assert env["LD_PRELOAD"].endswith(":/lib/other.so")
    program = (
        "import socket\n"
        "s = socket.create_server(('', 0)); print(s.getsockname()[0])\n"
        "t = socket.socket(socket.AF_INET6); t.bind(('::', 0)); print(t.getsockname()[0])\n"
    )
    env = {**os.environ, **own_ports.own_ports_env([4711], {})}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0.0.0.0", "::"]
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    env = {**os.environ, **own_ports.own_ports_env([port], {})}
    program = f"import socket; print(socket.create_server(('', {port})).getsockname()[0])"
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "127.0.0.1"
