"""Workers of a Beam pipeline in this process: started over a port of this machine, for this user alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2

from tests.support.ports import listening, other_address
from transforms.runners import make_runner
from transforms.runners.beam import connections, job_servers, loopback_workers
from transforms.runners.beam.connections import user_of_connection, users_are_shown
from transforms.runners.beam.loopback_workers import LoopbackWorkers, OwnWorkerPool, start_worker_pool

_NOBODY = 65534
_STOP = "/org.apache.beam.model.fn_execution.v1.BeamFnExternalWorkerPool/StopWorker"


@pytest.fixture
def address():
    before = listening([os.getpid()])
    address, stop = start_worker_pool(PipelineOptions([]))
    assert listening([os.getpid()]) - before == {("127.0.0.1", int(address.rpartition(":")[2]))}
    yield address
    stop()


def test_own_user_is_answered_over_loopback_and_nobody_over_the_network(address):
    with grpc.insecure_channel(address) as channel:
        assert channel.unary_unary(_STOP)(b"", timeout=30) == b""
    other = other_address()
    if other is not None:
        with pytest.raises(ConnectionRefusedError), socket.create_connection((other, int(address.rpartition(":")[2]))):
            pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_another_user_of_the_machine_is_refused(address):
    program = (
        "import encodings.idna, os, sys, grpc\n"
        f"channel = grpc.insecure_channel({address!r})\n"
        f"os.setgid({_NOBODY}); os.setuid({_NOBODY})\n"
        f"try: channel.unary_unary({_STOP!r})(b'', timeout=30); print('in')\n"
        "except grpc.RpcError as error: print(error.code().name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "PERMISSION_DENIED", done.stderr


@pytest.mark.parametrize(
    ("family", "listens", "connects"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
    ],
)
def test_the_user_of_a_connection_is_known_by_its_whole_address(family, listens, connects):
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with socket.socket(family) as server, socket.socket(family) as client:
        try:
            server.bind((listens, 0))
        except OSError as error:
            pytest.skip(f"no {listens} here: {error}")
        server.listen()
        client.connect((connects, server.getsockname()[1]))
        accepted, theirs = server.accept()
        with accepted:
            ours = accepted.getsockname()
            assert user_of_connection(theirs[:2], ours[:2]) == os.getuid()
            assert user_of_connection(("127.0.0.2", theirs[1]), ours[:2]) is None
            assert user_of_connection(theirs[:2], (ours[0], ours[1] ^ 1)) is None


def test_where_the_system_does_not_say_whose_a_connection_is_workers_start_and_a_warning_says_so(
    tmp_path, monkeypatch, capsys
):
    assert users_are_shown() == sys.platform.startswith("linux")
    monkeypatch.setattr(connections, "TABLES", tmp_path)
    loopback_workers._warn_once.cache_clear()
    for _ in range(2):
        address, stop = start_worker_pool(PipelineOptions([]))
        with grpc.insecure_channel(address) as channel:
            assert channel.unary_unary(_STOP)(b"", timeout=30) == b""
        stop()
    assert capsys.readouterr().err.count("/proc/net/tcp") == 1


def test_a_row_that_one_reading_of_the_table_left_out_is_found_by_the_next(tmp_path, monkeypatch):
    rows = ["", "", "   0: 0100007F:0001 0100007F:0002 01 0:0 00:0 0 77 0 12345"]

    class Table:
        def __truediv__(self, name):
            return self

        def read_text(self):
            return "header\n" + rows.pop(0)

    monkeypatch.setattr(connections, "TABLES", Table())
    assert user_of_connection(("127.0.0.1", 1), ("127.0.0.1", 2)) == 77


@pytest.mark.parametrize(
    ("words", "cache", "limit"),
    [
        ((), 0, 0),
        (("--max_cache_memory_usage_mb=7", "--experiments=data_buffer_time_limit_ms=9"), 7 << 20, 9),
        (("--max_cache_memory_usage_mb=7", "--experiments=state_cache_size=3"), 3 << 20, 0),
    ],
)
def test_options_of_beams_own_pool_reach_this_one_and_the_programs_words_do_not(monkeypatch, words, cache, limit):
    made = []
    monkeypatch.setattr(OwnWorkerPool, "end_processes", lambda pool: None)
    monkeypatch.setattr(
        OwnWorkerPool,
        "__init__",
        lambda pool, **given: (made.append(given), super(OwnWorkerPool, pool).__init__(**given))[0],
    )
    monkeypatch.setattr(sys, "argv", ["program", "--environment_options=process_command=/bin/false"])
    options = PipelineOptions([*words, "--environment_type=LOOPBACK"])
    pipeline = beam_runner_api_pb2.Pipeline()
    pipeline.components.environments["e"].urn = python_urns.EMBEDDED_PYTHON_LOOPBACK
    for stop in LoopbackWorkers.start_and_replace_loopback_environments(pipeline, options):
        stop()
    (given,) = made
    assert given["state_cache_size"] == cache and given["data_buffer_time_limit_ms"] == limit
    assert pipeline.components.environments["e"].urn == "beam:env:external:v1"
    assert options.view_as(PortableOptions).environment_type == "LOOPBACK"  # the caller's are as they were


def test_processes_of_workers_end_with_the_pool():
    pool = OwnWorkerPool(use_process=True)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pool._worker_processes["w"] = process
    pool.end_processes()
    assert process.poll() is not None


def test_a_failure_of_flink_leaves_sparks_job_server_alone(monkeypatch):
    class Server:
        stopped = False

        def stop(self):
            self.stopped = True

    flink, spark = Server(), Server()
    for kind, server in (("flink", flink), ("spark", spark)):
        monkeypatch.setitem(job_servers.RUNNING, (kind, "a"), server)
    make_runner("flink").after_failure()
    assert flink.stopped and not spark.stopped
    make_runner("spark").after_failure()
    assert spark.stopped and not {("flink", "a"), ("spark", "a")} & job_servers.RUNNING.keys()
