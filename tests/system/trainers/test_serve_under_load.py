"""A server under load: hostile requests, idle connections, killed processes, swaps and rollbacks, full queues, memory.

FULLPASS_HOSTILE=10000 FULLPASS_IDLE=1000 for the long run.
"""

import asyncio
import base64
import collections
import concurrent.futures
import contextlib
import gc
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import threading
import weakref

import grpc
import numpy as np
import psutil
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.support.eventually import eventually
from tests.support.served_model import CRASH, PREDICT, answers, asked, example, metrics, rows, save_version
from trainers.export.export import latest_version
from trainers.serving.live_model import LiveModel
from trainers.serving.push import push, rollback
from trainers.serving.server import BatchingConfig, Limits, ModelConfig, ServeConfig
from trainers.serving.server.batcher import Waiting
from trainers.serving.server.core import Core
from trainers.serving.server.errors import Overloaded, Unavailable
from trainers.serving.server.processes import started
from trainers.serving.server.versions import ServedModel, State

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"  # of a connection of HTTP/2, with no settings
HOSTILE = int(os.environ.get("FULLPASS_HOSTILE", "1500"))
IDLE = int(os.environ.get("FULLPASS_IDLE", "200"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "m"
    folder.mkdir()
    save_version(folder, 1)
    return folder


def _config(root, **changes):
    return ServeConfig(
        models=(ModelConfig(name="m", directory=str(root)),),
        **{"grpc_port": 0, "rest_port": 0, "poll_s": 0.1} | changes,
    )


def _grpc_request(values):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(values))
    return request


def _body(values):
    return json.dumps({"instances": [{"b64": base64.b64encode(each).decode()} for each in values]}).encode()


def _hostile(server, stub, number):
    """Sends one hostile request and returns what came back: a status, or how the connection ended."""
    kind = number % 10
    rest, grpc_port = server.config.rest_port, server.config.grpc_port
    if kind == 0:
        return asked(rest, b'{"instances": [' + os.urandom(20))[0]
    if kind == 1:
        return asked(rest, _body([CRASH, os.urandom(30)]))[0]
    if kind == 2:  # too large
        return asked(rest, b"a" * (300 << 10))[0]
    if kind in (3, 4):  # half a request, or half a body; then gone
        head = f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n"
        half = head.encode() if kind == 3 else head.encode() + b"\r\n" + b"{" * 500
        with socket.create_connection(("127.0.0.1", rest)) as connection:
            connection.sendall(half)
        return "gone"
    if kind == 5:
        with socket.create_connection(("127.0.0.1", grpc_port)) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(os.urandom(300))
        return "gone"
    if kind == 8:  # half a call; then gone
        with socket.create_connection(("127.0.0.1", grpc_port)) as connection, contextlib.suppress(ConnectionError):
            # The head of a frame of 100 bytes of headers, of which none comes.
            connection.sendall(_PREFACE + b"\0\0\x64\x01\x04\0\0\0\x01")
        return "gone"
    request = _grpc_request([CRASH if number % 20 == 6 else os.urandom(300 << 10 if kind == 9 else 30)])
    if kind == 7:
        request.inputs["examples"].tensor_shape.dim[0].size = 1 << 40
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(request, timeout=60)
    return refused.value.code().name


def test_hostile_requests_and_idle_connections_hold_nobody_up_and_memory_stays_flat(root):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * IDLE + 1000)), hard))
    values = rows(2)
    good = [example(row) for row in values]
    stop, answered, wrong = threading.Event(), collections.Counter(), []
    config = _config(root, limits=Limits(request_bytes=256 << 10, request_rows=1000))
    with started(config) as server, grpc.insecure_channel(f"127.0.0.1:{server.config.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        process = psutil.Process(server.pids[0])
        idle = [
            socket.create_connection(("127.0.0.1", (server.config.rest_port, server.config.grpc_port)[position % 2]))
            for position in range(IDLE)
        ]
        body = f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n".encode()
        frame = _PREFACE + b"\0\x80\0\x06\0\0\0\0\0"  # of 32 KiB
        slow = []
        for port, head in [(server.config.rest_port, body), (server.config.grpc_port, frame)] * 10:
            slow.append(socket.create_connection(("127.0.0.1", port)))
            slow[-1].sendall(head)

        def honest():
            while not stop.is_set():
                got = stub.Predict(_grpc_request(good), timeout=60).outputs["outputs"].float_val
                status, body = asked(server.config.rest_port, _body(good))
                answered[status] += 1
                if not np.allclose(got, answers(values, 0)) or not np.allclose(body["predictions"], answers(values, 0)):
                    wrong.append(body)
                for connection in slow:
                    with contextlib.suppress(ConnectionError):  # gRPC refuses what is no frame
                        connection.sendall(b"a")  # a byte at a time

        client = threading.Thread(target=honest)
        client.start()
        try:
            seen = collections.Counter()
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                seen.update(pool.map(lambda number: _hostile(server, stub, number), range(HOSTILE // 3)))
                before = process.memory_info().rss
                seen.update(pool.map(lambda number: _hostile(server, stub, number), range(HOSTILE // 3, HOSTILE)))
            after = process.memory_info().rss
        finally:
            stop.set()
            client.join()
            for connection in [*idle, *slow]:
                connection.close()
        assert server.pids[0] == process.pid and process.is_running()
    print(f"{HOSTILE} hostile requests, {IDLE} idle: {dict(seen)}; answered {dict(answered)}; RSS {before} -> {after}")
    assert set(seen) == {400, "gone", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"} and sum(seen.values()) == HOSTILE
    assert set(answered) == {200} and answered[200] > 5 and not wrong
    assert after - before < 64 << 20


def test_a_killed_process_costs_its_own_requests_alone(root):
    values = rows(1)
    body, expected = _body([example(values[0])]), answers(values, 0)
    stop, failed, counted = threading.Event(), [], collections.Counter()
    with started(_config(root, processes=2, grpc_port=None)) as server:

        def ask():
            while not stop.is_set():
                try:
                    status, answer = asked(server.config.rest_port, body)
                    counted[status] += 1
                    np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-5)
                except (ConnectionError, http.client.HTTPException) as error:
                    failed.append(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: counted[200] > 50, "requests are answered")
        killed = server.pids[1]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: server.pids[1] != killed, "another process was started")
        before = counted[200]
        eventually(lambda: counted[200] > before + 50, "requests are answered meanwhile")
        replacement = psutil.Process(server.pids[1])
        eventually(
            lambda: any(c.status == psutil.CONN_LISTEN for c in replacement.net_connections()),
            "the replacement serves",
            timeout_s=300,
        )
        at_most = len(failed)
        before = counted[200]
        eventually(lambda: counted[200] > before + 50, "requests are answered afterwards")
        stop.set()
        for thread in threads:
            thread.join()
    # Each of the 4 clients had one request in flight at most; where the system closes the socket that takes connections after them, a
    # second one may have waited in its queue.
    assert set(counted) == {200} and len(failed) == at_most <= 8


def test_twenty_swaps_and_rollbacks_under_load_fail_no_request(root, tmp_path):
    (tmp_path / "made").mkdir()
    for number in (1, 2):
        save_version(tmp_path / "made", number, bias=float(number))
    served = tmp_path / "m"
    push(tmp_path / "made" / "1", served, force=True)
    values = rows(3)
    request, body = _grpc_request([example(row) for row in values]), _body([example(row) for row in values])
    allowed = [answers(values, 1.0), answers(values, 2.0)]
    stop, wrong, seen = threading.Event(), [], collections.Counter()
    with (
        started(_config(served, poll_s=0.05)) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.config.grpc_port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask(over_rest):
            while not stop.is_set():
                try:
                    if over_rest:
                        status, answer = asked(server.config.rest_port, body)
                        got = answer["predictions"] if status == 200 else [answer]
                    else:
                        found = stub.Predict(request, timeout=60)
                        got = list(found.outputs["outputs"].float_val)
                        seen[found.model_spec.version.value] += 1
                    if not any(np.allclose(got, each, rtol=1e-5) for each in allowed):
                        wrong.append(got)
                except Exception as error:
                    wrong.append(error)

        threads = [threading.Thread(target=ask, args=(position == 0,)) for position in range(4)]
        for thread in threads:
            thread.start()
        for number in range(2, 22):
            if number % 5 == 0:
                rollback(served)
            else:
                push(tmp_path / "made" / str(1 + number % 2), served, force=True)
            eventually(lambda wanted=number: seen[wanted] > 0, f"version {number} answers")
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong and set(seen) == set(range(1, 22))


def test_full_queue_refuses_at_once_and_answers_the_rest(root):
    batching = BatchingConfig(max_batch_size=4, num_batch_threads=1, max_enqueued_batches=2, batch_timeout_micros=0)

    async def flood():
        core = Core(_config(root, batching=batching), metrics())
        core.load()
        values = rows(400)
        asked = [core.predict("m", {"examples": np.array([example(row), None], object)[:1]}) for row in values]
        found = await asyncio.gather(*asked, return_exceptions=True)
        await core.drain()
        return values, found

    values, found = asyncio.run(flood())
    refused = [each for each in found if isinstance(each, Overloaded)]
    # 8 rows wait at most: all requests came before a batch was done.
    assert refused and len(refused) >= len(values) - 16
    for row, each in zip(values, found):
        if not isinstance(each, Overloaded):
            np.testing.assert_allclose(each.outputs["outputs"], answers(row[None], 0), rtol=1e-5)


def test_a_body_that_came_in_while_its_version_was_let_go_is_answered_and_does_not_hold_the_model(root, tmp_path):
    shutil.copytree(root / "1", tmp_path / "1")
    values, found = rows(1), []
    row = base64.b64encode(example(values[0])).decode()
    body = json.dumps({"instances": [{"b64": row}]}).encode()

    class Late(Waiting):
        gone = False

        def finish(self, answer):
            found.append(answer)

    async def swapped():
        core = Core(_config(tmp_path), metrics())
        core.load()
        old = core.version("m")
        save_version(tmp_path, 2, bias=2.0)
        core.load()
        assert core.models["m"].live == [2]
        for version in (core.version("m"), old):
            core.submit(version, "serving_default", Late(version.reader.read(body, 1), 1, None))
        while len(found) < 2:
            await asyncio.sleep(0.01)
        left = weakref.ref(old)
        del old, version
        gc.collect()
        return left() is None

    assert asyncio.run(swapped()), "the version that was let go is still held"
    wanted = [answers(values, bias) for bias in (2.0, 0)]
    got = sorted((each["outputs"] for each in found), key=lambda each: abs(each[0] - wanted[0][0]))
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_a_body_that_came_in_while_the_server_began_to_stop_is_refused_and_not_forgotten(root):
    async def stopped():
        core = Core(_config(root), metrics())
        core.load()
        version = core.version("m")
        row = base64.b64encode(example(rows(1)[0])).decode()
        packed = version.reader.read(json.dumps({"instances": [{"b64": row}]}).encode(), 1)
        await core.drain()  # no thread is left that would run it
        core.submit(version, packed.signature, Waiting(packed, packed.rows, None))

    with pytest.raises(Unavailable):
        asyncio.run(stopped())


def test_what_is_a_version_is_what_tensorflow_serving_takes_for_one(root, tmp_path):
    for name in ("007", "1.tmp", "x", "٩", "-1", "8x"):
        shutil.copytree(root / "1", tmp_path / name)
    model = ServedModel(ModelConfig(name="m", directory=tmp_path.as_uri()), Limits())
    model.reload()
    assert model.live == [7] and model.find(7).number == 7 and list(model.states) == [7]
    assert latest_version(tmp_path) == tmp_path / "007"  # everywhere else as well
    with LiveModel(tmp_path, poll_s=None) as live, live.hold() as version:
        assert (version.number, version.path) == (7, tmp_path / "007")
    shutil.rmtree(tmp_path / "007")
    model.reload()
    assert model.live == [7], "a version stays until another one answers in its place"


def test_version_that_failed_is_tried_again_though_its_files_are_the_same(root, tmp_path):
    """What was wrong may lie outside of them: one process of several would stay behind the others for good."""
    shutil.copytree(root / "1", tmp_path / "m" / "1")
    (tmp_path / "m" / "1" / "variables").rename(tmp_path / "later")
    (tmp_path / "m" / "1" / "variables").symlink_to(tmp_path / "variables")
    models = [
        ServedModel(ModelConfig(name="m", directory=str(tmp_path / "m")), Limits(load_again_s=seconds))
        for seconds in (0.01, 3600.0, 3600.0)
    ]
    for model in models:
        model.reload()
        assert model.states[1][0] == State.END
    (tmp_path / "later").rename(tmp_path / "variables")
    soon, late, asked = models
    eventually(lambda: soon.reload() or soon.live == [1], "it is tried after a while")
    late.reload()
    assert late.live == []
    asked.change(asked.config)  # a client asks for the same list again
    asked.reload()
    assert asked.live == [1]


def test_version_that_would_not_fit_into_memory_is_refused_and_the_one_before_stays(root, tmp_path):
    shutil.copytree(root / "1", tmp_path / "1")
    model = ServedModel(ModelConfig(name="m", directory=str(tmp_path)), Limits())
    model.reload()
    shutil.copytree(root / "1", tmp_path / "2")
    with open(tmp_path / "2" / "assets.extra", "wb") as file:
        file.truncate(4 << 40)  # a hole on the disk
    model.reload()
    assert model.live == [1]
    state, why = model.states[2]
    assert state == State.END and f"at least {4 << 20} MiB" in why and "it is not loaded" in why
    for number in ("3", "4"):
        (tmp_path / number).mkdir()
    (tmp_path / "3" / "saved_model.pb").touch()
    os.mkfifo(tmp_path / "4" / "saved_model.pb")  # would be waited for, for ever
    for number, what in ((4, "neither a file nor a directory"), (3, "holds no model")):
        model.reload()
        assert model.live == [1] and what in model.states[number][1]
        shutil.rmtree(tmp_path / str(number))
