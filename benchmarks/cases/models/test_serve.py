"""Requests a second and processor time a request of the server, beside plain services and Ray Serve on the same REST requests."""

from __future__ import annotations

import concurrent.futures
import os
import statistics
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.data.served import save_versions
from benchmarks.harness.ladder import median_least_greatest
from benchmarks.peers.plain_server import FRAMES
from benchmarks.peers.registry import PEERS
from benchmarks.peers.rest_load import Load, check, load, processor_seconds
from cluster.benchmarking.pairs import Timing, paired
from cluster.benchmarking.results import note, record_pair
from tests.support.eventually import eventually
from tests.support.served_model import example, rows

STREAMS, PAIRS = 64, 5
SECONDS = float(os.environ.get("FULLPASS_BENCH_SERVE_SECONDS", "2"))  # of one run of load
ROWS = (1, 16, 64, 256)  # a request
LIMIT_MS = 20.0
QUICK = ("starlette", "ray serve")  # the quick suite's peers: the fastest of the plain ones, and the one that batches
LADDER = (1, 2, 4, 8, 16, 32, 48, 64)  # connections


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return save_versions(tmp_path_factory.mktemp("models") / "m", 0.0)


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.full)], ids=["1 process", "2 processes"])
def ours(root, request):
    """Port and processes."""
    from trainers.serving.server import ModelConfig, ServeConfig
    from trainers.serving.server.processes import started

    model = ModelConfig(name="m", directory=str(root))
    config = ServeConfig(models=(model,), grpc_port=None, rest_port=0, processes=request.param)
    with started(config) as server:
        assert server.config.rest_port is not None
        check(server.config.rest_port)
        yield server.config.rest_port, [psutil.Process(pid) for pid in server.pids]


@pytest.fixture(params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in FRAMES])
def peer(root, request, tmp_path):
    """Name, port and processes."""
    file = tmp_path / "port"
    command = [sys.executable, "-m", "benchmarks.peers.plain_server", request.param, str(root / "1"), str(file)]
    process = subprocess.Popen(command)
    try:
        port = int(eventually(lambda: file.exists() and file.read_text(), f"{request.param} listens", timeout_s=300))
        check(port)
        yield request.param, port, [psutil.Process(process.pid)]
    finally:
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for each in below:
            if each.is_running():
                each.kill()


def test_rest_requests(benchmark, ours, peer, tmp_path):
    port, processes = ours
    name, peer_port, peer_processes = peer
    seen: dict[int, list[Load]] = {port: [], peer_port: []}

    def timed(of: int, its: list[psutil.Process]) -> Timing:
        before = processor_seconds(its)
        found = load(of, tmp_path, STREAMS, SECONDS)
        seen[of].append(found)
        return Timing(wall_s=found.wall_s / found.requests, cpu_s=(processor_seconds(its) - before) / found.requests)

    result = paired(lambda: timed(port, processes), lambda: timed(peer_port, peer_processes), PAIRS)
    benchmark.pedantic(lambda: load(port, tmp_path, STREAMS, 1.0), rounds=1)
    benchmark.extra_info.update(
        {
            "server_us_a_request": round(1e6 * result.ours_cpu_s, 1),
            "peer_us_a_request": round(1e6 * result.peer_cpu_s, 1),
            "p99_ms": sorted(each.p99_ms for each in seen[port])[len(seen[port]) // 2],
            "peer_p99_ms": sorted(each.p99_ms for each in seen[peer_port])[len(seen[peer_port]) // 2],
        }
    )
    record_pair(
        benchmark,
        result,
        PEERS[name].title,
        1,
        what=f"a REST request of one row, {count(processes)}, {STREAMS} connections",
        package=PEERS[name].package,
    )


@pytest.mark.full  # a search takes a run of load for each number of connections
def test_most_requests_within_the_limit(benchmark, ours, peer, tmp_path):
    port, processes = ours
    name, peer_port, _ = peer
    (best, connections), (peer_best, peer_connections) = (best_rate(each, tmp_path) for each in (port, peer_port))
    found = {
        "what": f"a REST request of one row, {count(processes)}",
        "peer": PEERS[name].title,
        "rate_within_20_ms": round(best),
        "connections_within_20_ms": connections,
        "peer_rate_within_20_ms": round(peer_best),
        "peer_connections_within_20_ms": peer_connections,
    }
    note(benchmark, found)
    benchmark.pedantic(lambda: load(port, tmp_path, STREAMS, 1.0), rounds=1)


def count(processes: list[psutil.Process]) -> str:
    return f"{len(processes)} process{'es' * (len(processes) > 1)}"


def best_rate(port: int, folder) -> tuple[float, int]:
    """Returns the most requests a second whose 99th percentile stays within the limit, and at how many connections; 0, 0 where none.

    More connections wait longer: two numbers of them in a row beyond the limit end the search, and one alone, which another program on
    the machine may have caused, does not.
    """
    best, beyond = (0.0, 0), 0
    for streams in LADDER:
        found = load(port, folder, streams, 1.0)
        within = found.p99_ms <= LIMIT_MS
        beyond = 0 if within else beyond + 1
        if within:
            best = max(best, (found.rate, streams))
        if beyond == 2:
            break
    return best


@pytest.mark.full
@pytest.mark.parametrize("size", [16, 64])
def test_rest_rows_a_request(benchmark, ours, tmp_path, size):
    port, processes = ours
    load(port, tmp_path, 16, 1.0, size)
    before = processor_seconds(processes)
    found = benchmark.pedantic(lambda: load(port, tmp_path, 16, SECONDS, size), rounds=1)
    used = processor_seconds(processes) - before
    us = round(1e6 * used / found.requests / size, 2)
    note(
        benchmark,
        {"rows_per_s": round(found.rate * size), "server_us_a_row": us, "p99_ms": round(found.p99_ms, 2)},
    )
    print(f"\n{benchmark.name}: {benchmark.extra_info}")


@pytest.mark.full
def test_rows_a_second_of_one_and_two_processes_beside_the_model_alone(benchmark, root, tmp_path):
    """By rows a request; the three are measured in turn, and the client's processor time a row is noted: it has the same processors.

    Servers and client can take no more than all cores: the two processes' share of that ceiling says how much more growth there could be.
    """
    import tensorflow as tf

    from trainers.serving.server import ModelConfig, ServeConfig
    from trainers.serving.server.processes import started

    models = (ModelConfig(name="m", directory=str(root)),)
    alone = tf.saved_model.load(str(root / "1")).signatures["serving_default"]
    large = tf.constant([example(row) for row in rows(1024)])

    def own() -> tuple[float, float]:
        """Rows a second of the model in large batches, and its processor seconds a row."""
        count, start, before = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() < start + 1.0:
            alone(examples=large)
            count += 1024
        return count / (time.perf_counter() - start), (time.process_time() - before) / count

    own()
    found = []
    with (
        started(ServeConfig(models=models, grpc_port=None, rest_port=0, processes=1)) as one,
        started(ServeConfig(models=models, grpc_port=None, rest_port=0, processes=2)) as two,
    ):
        servers = [(each.config.rest_port or 0, [psutil.Process(pid) for pid in each.pids]) for each in (one, two)]

        def served(port: int, processes: list[psutil.Process], size: int) -> tuple[float, float, float]:
            """Rows a second; processor seconds a row of the server and of the client."""
            before = processor_seconds(processes)
            seen = load(port, tmp_path, 16, 1.0, size)
            count = seen.requests * size
            return seen.rate * size, (processor_seconds(processes) - before) / count, seen.client_cpu_s / count

        for size in ROWS:
            rounds = [(*served(*servers[0], size), *served(*servers[1], size), *own()) for _ in range(PAIRS)]
            columns = map(statistics.median, zip(*rounds))
            one_rate, one_cpu, _, two_rate, two_cpu, client_cpu, own_rate, own_cpu = columns
            found.append(
                {
                    "rows": size,
                    "one_process": round(one_rate),
                    "two_processes": round(two_rate),
                    "model_alone": round(own_rate),
                    "growth": median_least_greatest([each[3] / each[0] for each in rounds]),
                    "share_of_model": median_least_greatest([each[3] / each[6] for each in rounds]),
                    "one_cpu_us": round(1e6 * one_cpu, 3),
                    "server_cpu_us": round(1e6 * two_cpu, 3),
                    "client_cpu_us": round(1e6 * client_cpu, 3),
                    "model_cpu_us": round(1e6 * own_cpu, 3),
                    "cores_of_one": round(one_rate * one_cpu, 3),
                    "share_of_ceiling": round(two_rate * (two_cpu + client_cpu) / (os.cpu_count() or 1), 3),
                }
            )
        port = two.config.rest_port or 0
        benchmark.pedantic(lambda: load(port, tmp_path, 16, 1.0, ROWS[-1]), rounds=1)
    note(benchmark, {"rows_a_request": found, "rounds": PAIRS})
    for each in found:  # points of the report's curves
        for name in ("one_process", "two_processes", "model_alone"):
            benchmark.extra_info[f"rows_per_s_{name}_at_{each['rows']}"] = each[name]
    print(f"\n{benchmark.name}: {found}")


def test_grpc_examples_a_second_by_rows_a_request(benchmark, root):
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from trainers.serving.server import ModelConfig, ServeConfig
    from trainers.serving.server.processes import started

    config = ServeConfig(models=(ModelConfig(name="m", directory=str(root)),), grpc_port=0, rest_port=None)
    serialized = [example(row) for row in rows(256)]
    with started(config) as server, grpc.insecure_channel(f"127.0.0.1:{server.config.grpc_port}") as channel:
        process = [psutil.Process(pid) for pid in server.pids]
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
            start, before = time.perf_counter(), processor_seconds(process)
            ask()
            benchmark.extra_info[f"examples_per_s_at_{size}"] = round(total * size / (time.perf_counter() - start))
            benchmark.extra_info[f"server_us_a_request_at_{size}"] = round(
                1e6 * (processor_seconds(process) - before) / total
            )
        benchmark.pedantic(ask, rounds=1)
    note(benchmark, {})
    print(f"\n{benchmark.name}: {benchmark.extra_info}")
