"""An API server that takes what is created and remembers it: the client's own requests, over HTTP, without a cluster."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

__all__ = ["recording_api"]


@contextlib.contextmanager
def recording_api(directory: Path, namespace_labels: dict[str, str]) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Yields (kubeconfig, [(path, object)]) of a server whose namespace has these labels."""
    created: list[tuple[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.partition("?")[0].rpartition("/")[2]
            self._answer(
                200, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name, "labels": namespace_labels}}
            )

        def do_POST(self) -> None:
            obj = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            created.append((self.path, obj))
            self._answer(201, {**obj, "metadata": {**obj["metadata"], "uid": f"uid-{len(created)}"}})

        def _answer(self, code: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {"token": "t"}}],
        "clusters": [{"name": "k", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "team"}}],
    }  # fmt: skip
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    try:
        yield str(path), created
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
