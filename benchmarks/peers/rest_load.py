"""Load on a server's REST door: by wrk where it is installed, which takes a tenth of what a client in Python takes, else by aiohttp."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import shutil
import statistics
import subprocess
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
    """What a run of load showed: requests answered, on the clock, and their latencies."""

    requests: int
    wall_s: float
    p50_ms: float
    p99_ms: float

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


def load(port: int, folder: Path, streams: int, seconds: float, size: int = 1) -> Load:
    """Sends requests on so many connections for so long.

    Raises:
        AssertionError: one was not answered, or refused.
    """
    return (_by_wrk if shutil.which("wrk") else _by_aiohttp)(port, folder, streams, seconds, size)


def processor_seconds(processes: list[psutil.Process]) -> float:
    """Returns what the processes and those below them have used so far."""
    every = {each for process in processes for each in [process, *process.children(recursive=True)]}
    return sum(times.user + times.system for times in (each.cpu_times() for each in every))


def _by_wrk(port: int, folder: Path, streams: int, seconds: float, size: int) -> Load:
    script, lines = folder / "load.lua", folder / f"bodies-{size}"
    script.write_text(_WRK)
    lines.write_bytes(b"\n".join(bodies(size)) + b"\n")
    command = ["wrk", "-t1", f"-c{streams}", f"-d{max(1, round(seconds))}s", "--timeout", "60s", "-s", str(script)]
    start = time.perf_counter()
    words = [*command, f"http://127.0.0.1:{port}", "--", str(lines), PATH]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    wall = time.perf_counter() - start
    requests, bad, p50, p99 = (float(word) for word in done.stderr.split())
    assert not bad and requests, f"{bad:g} of {requests:g} requests failed"
    return Load(requests=int(requests), wall_s=wall, p50_ms=p50 / 1000, p99_ms=p99 / 1000)


def _by_aiohttp(port: int, folder: Path, streams: int, seconds: float, size: int) -> Load:
    texts, latencies = bodies(size), list[float]()
    until = time.perf_counter() + seconds

    async def one_stream(session: aiohttp.ClientSession, position: int) -> None:
        while time.perf_counter() < until:
            start = time.perf_counter()
            async with session.post(
                f"http://127.0.0.1:{port}{PATH}", data=texts[position % 256], headers=_HEADERS
            ) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            latencies.append(time.perf_counter() - start)
            position += 1

    async def all_streams() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=streams)) as session:
            await asyncio.gather(*(one_stream(session, stream) for stream in range(streams)))

    start = time.perf_counter()
    asyncio.run(all_streams())
    cuts = [1000 * cut for cut in statistics.quantiles(latencies, n=100)]
    return Load(requests=len(latencies), wall_s=time.perf_counter() - start, p50_ms=cuts[49], p99_ms=cuts[98])
