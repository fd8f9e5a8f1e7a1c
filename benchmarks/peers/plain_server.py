"""The peers of `benchmarks/cases/models/test_serve.py`: services of `model(x)` a request, and Ray Serve's batches.

Run as `python -m benchmarks.peers.plain_server FRAME MODEL PORT_FILE`.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["FRAMES", "main"]

_PATH = "/v1/models/m:predict"


def _model(path: str) -> Callable[[list[bytes]], list[float]]:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    answer = loaded.signatures["serving_default"]

    def predict(examples: list[bytes]) -> list[float]:
        outputs = answer(examples=tf.constant(examples))
        return next(iter(outputs.values())).numpy().tolist()  # type: ignore[no-any-return]

    predict.loaded = loaded  # type: ignore[attr-defined]  # the signature alone does not keep the model alive
    return predict


def _decoded(rows: list[dict[str, str]]) -> list[bytes]:
    return [base64.b64decode(row["b64"]) for row in rows]


def _bound(port_file: Path) -> socket.socket:
    bound = socket.create_server(("127.0.0.1", 0))
    port_file.write_text(str(bound.getsockname()[1]))
    return bound


def _uvicorn(app: Any, port_file: Path) -> None:
    import uvicorn

    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off")).run(sockets=[_bound(port_file)])


def starlette(model: str, port_file: Path) -> None:
    """Starlette on uvicorn, the model in a thread."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response
    from starlette.routing import Route

    predict = _model(model)

    def answer(body: bytes) -> bytes:
        return json.dumps({"predictions": predict(_decoded(json.loads(body)["instances"]))}).encode()

    async def endpoint(request: Any) -> Response:
        return Response(await run_in_threadpool(answer, await request.body()), media_type="application/json")

    _uvicorn(Starlette(routes=[Route(_PATH, endpoint, methods=["POST"])]), port_file)


def fastapi(model: str, port_file: Path) -> None:
    """FastAPI on uvicorn, as its tutorial has it."""
    from fastapi import FastAPI

    predict, app = _model(model), FastAPI()

    def endpoint(body: dict[str, list[dict[str, str]]]) -> dict[str, list[float]]:
        return {"predictions": predict(_decoded(body["instances"]))}

    endpoint.__annotations__ = {"body": dict[str, list[dict[str, str]]], "return": dict[str, list[float]]}
    app.post(_PATH)(endpoint)
    _uvicorn(app, port_file)


def flask(model: str, port_file: Path) -> None:
    """Flask on its threaded server."""
    import logging

    from flask import Flask, jsonify, request
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    predict, app = _model(model), Flask("plain")

    def endpoint() -> Any:
        return jsonify(predictions=predict(_decoded(request.get_json(force=True)["instances"])))

    app.post(_PATH)(endpoint)
    bound = _bound(port_file)
    make_server("127.0.0.1", bound.getsockname()[1], app, threaded=True, fd=bound.fileno()).serve_forever()


def ray_serve(model: str, port_file: Path) -> None:
    """Ray Serve with `@serve.batch`."""
    import ray
    from ray import serve

    @serve.deployment(ray_actor_options={"num_cpus": 0}, max_ongoing_requests=256)
    class Served:
        def __init__(self) -> None:
            self._predict = _model(model)

        @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)  # type: ignore[untyped-decorator]
        async def _batch(self, examples: list[bytes]) -> list[float]:
            return self._predict(examples)

        async def __call__(self, request: Any) -> dict[str, list[float]]:
            (example,) = _decoded((await request.json())["instances"])
            return {"predictions": [await self._batch(example)]}

    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Served.bind(), route_prefix=_PATH)  # type: ignore[attr-defined]
    port_file.write_text(str(port))
    while True:
        time.sleep(60)


FRAMES: dict[str, Callable[[str, Path], None]] = {
    "starlette": starlette,
    "fastapi": fastapi,
    "flask": flask,
    "ray serve": ray_serve,
}


def main() -> None:
    """Serves one SavedModel over HTTP until it is killed."""
    frame, model, port_file = sys.argv[1:]
    FRAMES[frame](model, Path(port_file))


if __name__ == "__main__":
    main()
