"""Workers of a Beam pipeline in this process: started over a port of this machine, for this user alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from tests.support.ports import listening, other_address
from transforms.runners.beam.connections import user_of_connection
from transforms.runners.beam.loopback_workers import start_worker_pool

_NOBODY = 65534
_STOP = "/org.apache.beam.model.fn_execution.v1.BeamFnExternalWorkerPool/StopWorker"


@pytest.fixture
def address():
    before = listening([os.getpid()])
    address, server = start_worker_pool(PipelineOptions([]))
    assert listening([os.getpid()]) - before == {("127.0.0.1", int(address.rpartition(":")[2]))}
    yield address
    server.stop(None).wait()


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
