"""The peer of `benchmarks/cases/models/test_serve.py`: what a service around a model looks like without batching, `model(x)` a request.

Run as `python -m benchmarks.peers.plain_server MODEL PORT_FILE`.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
from pathlib import Path


def main() -> None:
    """Serves one SavedModel over HTTP until it is killed."""
    import tensorflow as tf
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    path, port_file = sys.argv[1:]
    loaded = tf.saved_model.load(path)
    answer = loaded.signatures["serving_default"]

    def predict(body: bytes) -> bytes:
        examples = [base64.b64decode(row["b64"]) for row in json.loads(body)["instances"]]
        outputs = answer(examples=tf.constant(examples))
        return json.dumps({"predictions": next(iter(outputs.values())).numpy().tolist()}).encode()

    async def endpoint(request):
        from starlette.concurrency import run_in_threadpool

        return Response(await run_in_threadpool(predict, await request.body()), media_type="application/json")

    app = Starlette(routes=[Route("/v1/models/m:predict", endpoint, methods=["POST"])])
    bound = socket.create_server(("127.0.0.1", 0))
    Path(port_file).write_text(str(bound.getsockname()[1]))
    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off")).run(sockets=[bound])


if __name__ == "__main__":
    main()
