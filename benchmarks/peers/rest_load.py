"""Load on a server's REST door: by wrk where it is installed, which takes a tenth of what a client in Python takes, else by aiohttp."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import http
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
import psutil

from tests.support.served_model import answers, example, rows

__all__ = ["PATH", "Load", "bodies", "check", "load", "processor_seconds"]

PATH = "/v1/models/m:predict"
_HEADERS = {"content-type": "application/json"}
_WRK = """
local requests, at = {}, 0
function init(arguments)
  for line in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", arguments[2], {["content-type"] = "application/json"}, line)
  end
end
function request() at = at % #requests + 1 return requests[at] end
function done(summary, latency, other)
  local errors = summary.errors
  local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.stderr:write(string.format("%d %d %f %f", summary.requests, bad, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """What a run of load showed: requests answered, those that failed, on the clock, latencies, and processor time of the client."""

    requests: int
    failed: int
    wall_s: float
    p50_ms: float
    p99_ms: float
    client_cpu_s: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.wall_s


def bodies(size: int = 1) -> list[bytes]:
    """Returns 256 requests of so many rows each."""
    encoded = [{"b64": base64.b64encode(example(row)).decode()} for row in rows(256)]
    return [json.dumps({"instances": [encoded[(i + j) % 256] for j in range(size)]}).encode() for i in range(256)]


def check(port: int) -> None:
    """Asks each of the bodies once; the answers must be the model's."""
    expected = answers(rows(256), 0)

    async def ask() -> list[float]:
        async with aiohttp.ClientSession() as session:
            found = []
            for body in bodies():
                async with session.post(f"http://127.0.0.1:{port}{PATH}", data=body, headers=_HEADERS) as answer:
                    found += (await answer.json(content_type=None))["predictions"]
            return found

    np.testing.assert_allclose(asyncio.run(ask()), expected, rtol=1e-5)


def load(port: int, folder: Path, streams: int, seconds: float, size: int = 1, *, may_fail: bool = False) -> Load:
    """Sends requests on so many connections for so long.

    Args:
        port: of the server on this machine.
        folder: where what the client reads is written.
        streams: connections; each has one request on its way at any time.
        seconds: how long.
        size: rows a request.
        may_fail: whether requests that are not answered, or refused, are counted only.

    Raises:
        AssertionError: one was not answered, or refused, and `may_fail` is not set.
    """
    found = (_by_wrk if shutil.which("wrk") else _by_aiohttp)(port, folder, streams, seconds, size)
    assert found.requests and (may_fail or not found.failed), f"{found.failed} of {found.requests} requests failed"
    return found


def processor_seconds(processes: list[psutil.Process]) -> float:
    """Returns what the processes and those below them have used so far."""
    every = {each for process in processes for each in [process, *process.children(recursive=True)]}
    return sum(times.user + times.system for times in (each.cpu_times() for each in every))


def _by_wrk(port: int, folder: Path, streams: int, seconds: float, size: int) -> Load:
    script, lines = folder / "load.lua", folder / f"bodies-{size}"
    script.write_text(_WRK)
    lines.write_bytes(b"\n".join(bodies(size)) + b"\n")
    command = ["wrk", "-t1", f"-c{streams}", f"-d{max(1, round(seconds))}s", "--timeout", "60s", "-s", str(script)]
    words = [*command, f"http://127.0.0.1:{port}", "--", str(lines), PATH]
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        client = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(client.pid, 0)
        wall = time.perf_counter() - start
        client.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    assert client.returncode == 0, text
    requests, bad, p50, p99 = (float(word) for word in text.split())
    return Load(
        requests=int(requests),
        failed=int(bad),
        wall_s=wall,
        p50_ms=p50 / 1000,
        p99_ms=p99 / 1000,
        client_cpu_s=used.ru_utime + used.ru_stime,
    )


def _by_aiohttp(port: int, folder: Path, streams: int, seconds: float, size: int) -> Load:
    texts, latencies, failed = bodies(size), list[float](), list[str]()
    until = time.perf_counter() + seconds

    async def one_stream(session: aiohttp.ClientSession, position: int) -> None:
        while time.perf_counter() < until:
            start = time.perf_counter()
            try:
                url = f"http://127.0.0.1:{port}{PATH}"
                async with session.post(url, data=texts[position % 256], headers=_HEADERS) as answer:
                    text = await answer.text()
                    if answer.status != http.HTTPStatus.OK:
                        failed.append(text)
            except aiohttp.ClientError as error:
                failed.append(str(error))
            latencies.append(time.perf_counter() - start)
            position += 1

    async def all_streams() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=streams)) as session:
            await asyncio.gather(*(one_stream(session, stream) for stream in range(streams)))

    start, before = time.perf_counter(), time.process_time()
    asyncio.run(all_streams())
    cuts = [1000 * cut for cut in statistics.quantiles(latencies, n=100)]
    return Load(
        requests=len(latencies),
        failed=len(failed),
        wall_s=time.perf_counter() - start,
        p50_ms=cuts[49],
        p99_ms=cuts[98],
        client_cpu_s=time.process_time() - before,
    )
