"""A real S3-compatible server on loopback (moto's) and a proxy before it that breaks requests on purpose."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["FaultyProxy", "Request", "environment_of", "s3_server"]


def environment_of(address: str) -> dict[str, str]:
    """Returns the variables by which clients find a server and its keys."""
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextlib.contextmanager
def s3_server(bucket: str = "data") -> Iterator[str]:
    """Yields "host:port" of a running S3 server that holds one empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=bucket)
        yield f"{host}:{port}"
    finally:
        server.stop()


@dataclasses.dataclass(frozen=True)
class Request:
    """What came to the proxy: its number from 0, method, path and Range header ("" where absent)."""

    number: int
    method: str
    path: str
    range: str


class FaultyProxy:
    """An HTTP proxy in front of a server; `fault(request)` says what happens to each request.

    It returns None (passed on), "503" (answered by the proxy), "cut" (half of the body, then the connection is closed),
    "reset" (closed without an answer), "short" (a whole answer that holds half of the bytes asked for) or "hang" (silent
    for `hang_s` seconds, then closed).
    """

    def __init__(self, upstream: str, fault: Callable[[Request], str | None], hang_s: float = 3.0) -> None:
        self.upstream, self.fault, self.hang_s = upstream, fault, hang_s
        self.requests: list[Request] = []
        self.faults: list[str] = []
        self._lock = threading.Lock()

    def __enter__(self) -> FaultyProxy:
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def handle_any(self) -> None:
                proxy._handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # a client that gave up is what the test wants
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handle(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        body = _read_body(handler)
        with self._lock:
            request = Request(len(self.requests), handler.command, handler.path, handler.headers.get("Range") or "")
            self.requests.append(request)
            kind = self.fault(request)
            if kind:
                self.faults.append(kind)
        if kind == "503":
            handler.send_response(503, "Slow Down")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if kind in ("reset", "hang"):
            time.sleep(self.hang_s if kind == "hang" else 0)
            self._drop(handler)
            return
        status, headers, answer = self._forward(handler, body)
        handler.send_response(status)
        if kind == "short":
            answer = answer[: len(answer) // 2]
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                handler.send_header(name, value)
        length = len(answer)
        if handler.command == "HEAD":
            length = int({n.lower(): v for n, v in headers}.get("content-length", 0))
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if kind == "cut":
            handler.wfile.write(answer[: len(answer) // 2])
            handler.wfile.flush()
            self._drop(handler)
            return
        if handler.command != "HEAD":
            handler.wfile.write(answer)

    def _forward(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> tuple[int, list, bytes]:
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        headers = {
            n: v for n, v in handler.headers.items() if n.lower() not in ("connection", "expect", "transfer-encoding")
        }
        connection.request(handler.command, handler.path, body=body or None, headers=headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, response.getheaders(), answer

    @staticmethod
    def _drop(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)


def _read_body(handler: http.server.BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in (handler.headers.get("Transfer-Encoding") or ""):
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    while handler.rfile.readline().strip():  # trailers
        pass
    return b"".join(parts)
