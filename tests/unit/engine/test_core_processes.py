"""Processes, locks and ports of this machine."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import socket
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from engine.machine.cgroup import free_group_bytes
from engine.machine.garbage import Frozen, collect_grown
from engine.machine.lock import LockHeld, holder_of, locked, unheld
from engine.machine.logged_process import LoggedProcess, await_all, stop_all
from engine.machine.ports import bound_socket, free_ports, held_port
from engine.machine.processes import alive, kill_tree, process_mark

ROOT = Path(__file__).resolve().parents[3]


def child(code: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


def test_a_mark_is_of_one_process_and_an_ended_one_is_not_alive():
    process = child("import time; print(1, flush=True); time.sleep(300)")
    process.stdout.readline()
    mark = process_mark(process.pid)
    assert alive(mark) and mark == process_mark(process.pid)
    assert not alive(f"{process.pid}:1") and not alive("") and not alive("999999999:5")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and nobody has waited: a zombie
    assert not alive(mark)
    process.wait()
    assert not alive(mark)


def test_kill_tree_ends_children_in_sessions_of_their_own():
    code = """
import subprocess
inner = subprocess.Popen(["sleep", "300"], start_new_session=True)
print(inner.pid, flush=True)
inner.wait()
"""
    process = child(code)
    inner = process_mark(int(process.stdout.readline()))
    assert alive(inner)
    kill_tree(process.pid)
    assert process.wait() == -signal.SIGKILL
    while alive(inner):
        pass


def test_a_child_dies_with_its_parent_however_that_ends():
    code = """
import functools, os, subprocess
from engine.machine.processes import die_with_parent
inner = subprocess.Popen(["sleep", "300"], start_new_session=True, preexec_fn=functools.partial(die_with_parent, os.getpid()))
print(inner.pid, flush=True)
inner.wait()
"""
    process = child(code)
    inner = process_mark(int(process.stdout.readline()))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while alive(inner):
        pass


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path):
    code = f"""
import time
from engine.machine.lock import locked
with locked({str(tmp_path)!r}):
    print("held", flush=True)
    time.sleep(300)
"""
    process = child(code)
    process.stdout.readline()
    with pytest.raises(LockHeld) as held, locked(tmp_path, wait=False):
        pass
    assert held.value.holder == str(process.pid)
    process.kill()
    process.wait()
    with locked(tmp_path, wait=False) as directory:
        assert directory == tmp_path and (tmp_path / ".lock").read_text() == str(os.getpid())


def test_who_asks_for_the_holder_keeps_nobody_from_the_lock(tmp_path, monkeypatch):
    with locked(tmp_path):
        pass
    flock = fcntl.flock
    taken = []

    def asked_meanwhile(file, operation):
        """Somebody has the shared lock, as `holder_of` takes it, until it has been waited for."""
        if operation & fcntl.LOCK_EX and not taken:
            raise BlockingIOError
        flock(file, operation)

    monkeypatch.setattr("fcntl.flock", asked_meanwhile)
    monkeypatch.setattr("time.sleep", taken.append)
    with locked(tmp_path, wait=False):
        assert len(taken) == 1 and holder_of(tmp_path) == str(os.getpid())


def test_work_goes_on_where_the_file_system_has_no_locks(tmp_path, monkeypatch, capsys):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with locked(tmp_path, wait=False) as directory:
        assert directory == tmp_path
    assert "has no locks" in capsys.readouterr().err
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"), locked(tmp_path):
        pass


def test_free_ports_are_distinct_and_can_be_bound():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as one:
            one.bind(("127.0.0.1", port))


def test_a_logged_process_appends_its_starts_and_ends_with_all_that_it_started(tmp_path):
    code = "import os, subprocess, sys; print('said', flush=True); subprocess.Popen(['sleep', '300']); sys.exit(7)"
    process = LoggedProcess([sys.executable, "-c", code], tmp_path / "logs" / "a.log", os.environ)
    assert process.pid is None and process.poll() is None and not process.running
    for _ in range(2):
        pid = process.start()
        await_all([process], 60)
        assert process.poll() == 7 and process.output(last_bytes=100) == "said\n"
        with pytest.raises(ProcessLookupError):  # what it left behind went with it
            while True:
                os.killpg(pid, 0)
    assert (tmp_path / "logs" / "a.log").read_text() == "said\n" * 2
    with pytest.raises(FileNotFoundError):
        LoggedProcess(["/no/such/program"], tmp_path / "b.log", {}).start()


def test_stopped_processes_may_save_first_and_are_killed_after_their_grace(tmp_path):
    def program(name: str, on_term: str) -> LoggedProcess:
        code = f"import signal, sys, time; signal.signal(signal.SIGTERM, {on_term}); print('up', flush=True); time.sleep(300)"
        return LoggedProcess([sys.executable, "-c", code], tmp_path / name, os.environ)

    polite, deaf = program("polite", "lambda *_: sys.exit(print('saved'))"), program("deaf", "signal.SIG_IGN")
    for process in (polite, deaf):
        process.start()
        while "up" not in process.output(last_bytes=100):
            assert process.running
    stop_all([polite, deaf], grace_s=1.0)
    assert (polite.poll(), deaf.poll()) == (0, -signal.SIGKILL) and polite.output(last_bytes=100) == "up\nsaved\n"


def test_a_logged_process_sees_the_end_of_whoever_holds_its_input(tmp_path):
    process = LoggedProcess(
        [sys.executable, "-c", "import sys; sys.stdin.read(); print('alone')"],
        tmp_path / "log",
        os.environ,
        hold_stdin=True,
    )
    process.start()
    assert process.running
    process._close_stdin()
    await_all([process], 60)
    assert process.poll() == 0 and process.output(last_bytes=100) == "alone\n"


def test_free_memory_of_a_control_group_counts_idle_pages_of_files(tmp_path):
    for name, text in {
        "memory.max": "1000",
        "memory.current": "900",
        "memory.stat": "anon 500\ninactive_file 250",
    }.items():
        (tmp_path / name).write_text(text)
    assert free_group_bytes(tmp_path) == 350
    (tmp_path / "memory.max").write_text("max")
    assert free_group_bytes(tmp_path) is None and free_group_bytes(tmp_path / "none") is None
    first = tmp_path / "one" / "memory"
    first.mkdir(parents=True)
    for name, text in {"limit_in_bytes": "1000", "usage_in_bytes": "900", "stat": "total_inactive_file 100"}.items():
        (first / f"memory.{name}").write_text(text)
    assert free_group_bytes(tmp_path / "one") == 200


def test_a_directory_is_held_as_long_as_its_process_lives(tmp_path):
    directory = tmp_path / "held"
    directory.mkdir()
    process = child(
        f"import time; from engine.machine.lock import hold_directory; hold_directory({str(directory)!r}); print(1, flush=True); "
        "time.sleep(300)"
    )
    process.stdout.readline()
    with unheld(directory) as free:
        assert not free
    kill_tree(process.pid)
    process.wait()
    with unheld(directory) as free:
        assert free
    with unheld(tmp_path / "gone") as free:
        assert not free


def test_a_program_that_froze_its_own_objects_keeps_them_frozen():
    gc.unfreeze()  # whatever ran before in this process
    try:
        with Frozen() as frozen:
            frozen.freeze()
            assert gc.get_freeze_count()
        assert not gc.get_freeze_count()
        gc.freeze()  # as a server does before it forks
        with Frozen() as frozen:
            frozen.freeze()
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


class _Cycle:
    def __init__(self):
        self.itself = self


def test_cycles_that_were_frozen_are_collected_when_they_are_many(monkeypatch):
    gc.unfreeze()
    monkeypatch.setattr(Frozen, "live", 0)
    monkeypatch.setattr(Frozen, "count", 0)
    with Frozen() as frozen:
        cycle = _Cycle()
        gone = weakref.ref(cycle)
        frozen.freeze()
    del cycle
    collect_grown()
    assert gone() is not None  # one object more: a full collection would look through all the others
    with Frozen() as frozen:
        cycles = [_Cycle() for _ in range(Frozen.live // 2)]
        frozen.freeze()
    del cycles
    collect_grown()
    assert gone() is None and Frozen.live == pytest.approx(len(gc.get_objects()), rel=0.1)


def test_a_socket_whose_port_is_taken_is_closed(monkeypatch):
    made = []

    class Noted(socket.socket):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setattr("socket.socket", Noted)
        with pytest.raises(OSError, match="in use"):
            bound_socket("127.0.0.1", other.getsockname()[1])
    assert [each.fileno() for each in made] == [-1]


def test_a_port_is_held_for_one_server_and_shared_by_its_processes():
    """Two servers of a user shared it, and each answered a part of the requests."""
    with held_port("127.0.0.1", 0) as held:
        host, port = held.getsockname()
        with pytest.raises(OSError, match=f"port {port}, is in use by another program or another server"):
            held_port(host, port, patience_s=0)
        with bound_socket(host, port) as one, bound_socket(host, port):
            one.listen()
            with socket.create_connection((host, port)):
                accepted, _ = one.accept()
            held.close()
            with pytest.raises(OSError, match="in use"):
                held_port(host, port, patience_s=0)
    with accepted, held_port(host, port, patience_s=0) as held:
        assert held.getsockname()[1] == port, "beside what is left of its connections"
