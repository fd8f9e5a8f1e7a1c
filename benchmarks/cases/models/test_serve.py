"""Requests a second of the server, beside a plain service that calls the model once a request, on the same REST requests."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import json
import statistics
import subprocess
import sys
import time

import aiohttp
import numpy as np
import pytest

from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair
from tests.support.eventually import eventually
from tests.support.served_model import answers, example, rows

STREAMS, REQUESTS = 64, 3000


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "m"
    folder.mkdir()
    # A model whose own time counts: two wide layers after the parsing.
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "from pathlib import Path\n"
        "from tests.support.served_model import save_version\n"
        "save_version(Path(sys.argv[1]), 1)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def plain_port(root, tmp_path_factory):
    file = tmp_path_factory.mktemp("plain") / "port"
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.peers.plain_server", str(root / "1"), str(file)])
    try:
        yield int(eventually(lambda: file.exists() and file.read_text(), "the plain server listens"))
    finally:
        process.kill()
        process.wait()


def load(port: int, requests: int = REQUESTS, streams: int = STREAMS) -> list[float]:
    """Sends requests of one example each on parallel connections, checks every answer and returns the seconds of each."""
    values = rows(256)
    expected = answers(values, 0)
    bodies = [json.dumps({"instances": [{"b64": base64.b64encode(example(row)).decode()}]}).encode() for row in values]
    seconds: list[float] = []

    async def one_stream(session: aiohttp.ClientSession, count: int) -> None:
        for position in range(count):
            row = position % len(bodies)
            start = time.perf_counter()
            async with session.post(f"http://127.0.0.1:{port}/v1/models/m:predict", data=bodies[row]) as answer:
                body = await answer.json(content_type=None)
            seconds.append(time.perf_counter() - start)
            np.testing.assert_allclose(body["predictions"], [expected[row]], rtol=1e-5)

    async def all_streams() -> None:
        connector = aiohttp.TCPConnector(limit=streams)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(one_stream(session, requests // streams) for _ in range(streams)))

    asyncio.run(all_streams())
    return seconds


@pytest.mark.parametrize("processes", [1, 2])
def test_rest_requests_beside_a_plain_service(benchmark, root, plain_port, processes):
    from trainers.serving.server import ModelConfig, ServeConfig
    from trainers.serving.server.processes import started

    config = ServeConfig(
        models=(ModelConfig(name="m", directory=str(root)),), grpc_port=None, rest_port=0, processes=processes
    )
    with started(config) as server:
        port = server.config.rest_port
        assert port is not None
        result = paired(lambda: load(port), lambda: load(plain_port), 5)
        seconds = load(port)
        benchmark.pedantic(lambda: load(port), rounds=3)
    benchmark.extra_info["p50_ms"] = round(1000 * statistics.median(seconds), 2)
    benchmark.extra_info["p99_ms"] = round(1000 * statistics.quantiles(seconds, n=100)[98], 2)
    record_pair(
        benchmark,
        result,
        PEERS["starlette"].title,
        REQUESTS,
        what=f"REST requests, {processes} processes",
        package=PEERS["starlette"].package,
    )


def test_grpc_examples_a_second_by_rows_a_request(benchmark, root):
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from trainers.serving.server import ModelConfig, ServeConfig
    from trainers.serving.server.processes import started

    config = ServeConfig(models=(ModelConfig(name="m", directory=str(root)),), grpc_port=0, rest_port=None)
    serialized = [example(row) for row in rows(256)]
    with started(config) as server, grpc.insecure_channel(f"127.0.0.1:{server.config.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for size in (1, 16, 256):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "m"
            request.inputs["examples"].CopyFrom(tf.make_tensor_proto(serialized[:size]))
            total = 2000 if size == 1 else 500

            def ask(request=request, total=total):
                with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
                    for _ in pool.map(lambda _: stub.Predict(request), range(total)):
                        pass

            ask()
            start = time.perf_counter()
            ask()
            benchmark.extra_info[f"examples_per_s_at_{size}"] = round(total * size / (time.perf_counter() - start))
        benchmark.pedantic(ask, rounds=1)
    print(f"\n{benchmark.name}: {benchmark.extra_info}")
