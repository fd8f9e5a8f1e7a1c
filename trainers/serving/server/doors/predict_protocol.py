"""The short way of `:predict` over REST: from the HTTP parser to the batch and back, without a task, a scope or a route a request.

uvicorn owns the connections and llhttp parses them; what is not a plain `:predict` of numbers and strings in row format goes on to
uvicorn's own protocol and the application, as if this were not here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import http
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import httptools
import numpy as np
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trainers.serving.server.batcher import Waiting
from trainers.serving.server.core import Core
from trainers.serving.server.doors.patience import Patience
from trainers.serving.server.doors.routes import Routes
from trainers.serving.server.doors.tensors import to_json
from trainers.serving.server.errors import RequestError
from trainers.serving.server.packed import Spans, predictions_json
from trainers.serving.server.versions import LoadedVersion

__all__ = ["predict_protocol"]

_PATH = re.compile(rb"/v1/models/([^/:%?]+)(?:/versions/(\d{1,19})|/labels/([^/:%?]+))?:predict")
_MOST_HEAD = 1 << 16  # bytes of a request's line and headers, or trailers: neither llhttp nor uvicorn has a limit
_Route = tuple[str, int | None, str | None]


def predict_protocol(core: Core) -> Callable[..., HttpToolsProtocol]:
    """Returns what uvicorn makes a connection's protocol of (`Config.http`)."""
    return functools.partial(_PredictProtocol, _Door(core))


class _Door:
    """What the connections of a server share."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.patience = Patience(core.config.limits.idle_s)
        self.most_rows = min(core.config.limits.request_rows, core.config.batching.max_batch_size)
        token = core.config.token
        self._token = None if token is None else f"Bearer {token}".encode()
        self._routes = Routes(_route_of)
        self._default_headers: Any = None
        self._heads: dict[int, bytes] = {}

    def version(self, url: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[LoadedVersion | None, float | None]:
        """Returns the version that answers a request, and until when; None where the request is not for the short way."""
        deadline = None
        length, given = -1, b""
        for name, value in headers:
            if name == b"content-length":
                length = int(value)  # llhttp has looked at it
            elif name == b"authorization":
                given = value
            elif name == b"x-request-timeout-ms":
                with contextlib.suppress(ValueError):
                    deadline = time.monotonic() + float(value) / 1000
            elif name in (b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"):
                return None, None
        if not 0 < length <= self.core.config.limits.request_bytes or not self.core.submits:
            return None, None
        if self._token is not None and not hmac.compare_digest(given, self._token):
            return None, None
        route = self._routes.find(url)
        if route is None:
            return None, None
        try:
            return self.core.version(*route), deadline
        except RequestError:
            return None, None

    def head(self, status: int, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """Returns the head of an answer up to its length; uvicorn makes the headers of all answers anew each second."""
        if default_headers is not self._default_headers:
            self._default_headers, self._heads = default_headers, {}
        if status not in self._heads:
            lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}".encode()]
            lines += [name + b": " + value for name, value in default_headers]
            self._heads[status] = b"\r\n".join([*lines, b"content-type: application/json", b"content-length: "])
        return self._heads[status]


def _route_of(url: bytes) -> _Route | None:
    match = _PATH.fullmatch(url)
    return match and (
        match[1].decode("latin-1"),
        int(match[2]) if match[2] else None,
        match[3].decode("latin-1") if match[3] else None,
    )


class _Nothing:
    def set(self) -> None:
        """Tells nobody: uvicorn's cycles have a task that waits, these have none."""


class _Request(Waiting):
    """A request on the short way; uvicorn takes it for the cycle of its connection."""

    __slots__ = ("chunks", "disconnected", "keep_alive", "protocol", "response_complete", "start", "version")
    message_event = _Nothing()

    def __init__(self, protocol: _PredictProtocol, version: LoadedVersion, deadline: float | None) -> None:
        super().__init__({}, 0, deadline)
        self.protocol, self.version = protocol, version
        self.chunks: list[bytes] = []
        self.keep_alive, self.disconnected, self.response_complete = True, False, False
        self.start = 0.0

    @property
    def gone(self) -> bool:
        return self.disconnected

    @staticmethod
    def write(outputs: Mapping[str, np.ndarray], spans: Spans) -> list[bytes] | None:
        return predictions_json(outputs, spans)

    def finish(self, answer: Any) -> None:
        if not isinstance(answer, bytes | BaseException):
            try:
                answer = json.dumps(to_json(answer, rows=True)).encode()
            except Exception as failure:  # outputs that are not of rows, or of a type that JSON has no form for
                answer = failure
        core = self.protocol.door.core
        error = core.error_of(self.version, answer) if isinstance(answer, BaseException) else None
        core.answered(self.version, self.rows, time.perf_counter() - self.start, error)
        self.protocol.answer(self, error or answer)


class _PredictProtocol(HttpToolsProtocol):
    def __init__(self, door: _Door, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.door = door
        self._short: _Request | None = None  # whose body comes in
        self._upgrade: bytes | None = None  # the head of a request for another protocol, without that
        self._came = 0  # heads, parts of bodies and ends of requests that came in
        self._head_bytes = 0  # since the last of them: of a head or of trailers, which the parser keeps
        self.waiting_since: float | None = None  # these three are what `Patience` looks at
        self.heard = 0
        self.answered = 0

    @property
    def reading_paused(self) -> bool:
        """Whether the client's next bytes wait for this server."""
        return self.flow.read_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.door.patience.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.patience.gone(self)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self.answered += 1
        if self.waiting_since is None and not self.pipeline:
            self.waiting_since, self.heard = self.loop.time(), 0
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        came = self._came
        self.heard += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        self._head_bytes = self._head_bytes + len(data) if self._came == came else 0
        if self._head_bytes > _MOST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The request's line and headers are larger than {_MOST_HEAD} bytes.")

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as error:
                # Java's own client asks for HTTP/2 with each request. Who speaks no other protocol answers in this one (RFC 9110, 7.8),
                # while llhttp takes the body for that protocol: one that has heard of no such request is given its head again, without
                # what asks for it.
                head, self._upgrade = self._upgrade, None
                if head is None:
                    return
                data = head + data[error.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                with contextlib.suppress(AttributeError):  # as uvicorn does: older ones have no such switch
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def on_message_begin(self) -> None:
        self.waiting_since, self.heard = self.loop.time(), 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        self._came += 1
        method = self.parser.get_method()
        if self.parser.should_upgrade() and method != b"CONNECT":
            line = b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())
            kept = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            self._upgrade = b"\r\n".join([line, *kept, b"", b""])
            return
        # Answers leave in the order of the requests: while one is worked on, the next waits in uvicorn's own queue.
        # So does one whose client does not read: uvicorn's own cycle waits until what was written has gone.
        free = (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused
        if free and method == b"POST":
            version, deadline = self.door.version(self.url, self.headers)
            if version is not None:
                self._short = _Request(self, version, deadline)
                self._short.keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
                self.cycle = self._short  # type: ignore[assignment]
                return
        self._begin_long()

    def _begin_long(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # the list that is in the scope
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._came += 1
        if self._short is not None:
            self._short.chunks.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._came += 1
        if self._upgrade is not None:
            return
        request, self._short = self._short, None
        if request is None and self.cycle is not None and self.cycle.response_complete:  # answered before its body came
            self.waiting_since, self.heard = self.loop.time(), 0
        else:
            self.waiting_since = None
        if request is None:
            super().on_message_complete()
            return
        body = request.chunks[0] if len(request.chunks) == 1 else b"".join(request.chunks)
        request.chunks = []
        packed = request.version.reader.read(body, self.door.most_rows)
        if packed is None:
            self._go_long(request, body)
            return
        request.inputs, request.rows, request.start = packed, packed.rows, time.perf_counter()
        try:
            self.door.core.submit(request.version, packed.signature, request)
        except RequestError as error:
            self.door.core.failed(request.version.model, error)
            self.answer(request, error)

    def _go_long(self, request: _Request, body: bytes) -> None:
        self.cycle = None  # type: ignore[assignment]
        self._begin_long()
        self.cycle.keep_alive = self.cycle.keep_alive and request.keep_alive  # the server may have begun to stop
        super().on_body(body)
        super().on_message_complete()

    def answer(self, request: _Request, answer: bytes | RequestError) -> None:
        """Writes the answer to a request, or its error."""
        request.response_complete = True
        if self.cycle is request:  # type: ignore[comparison-overlap]
            self.cycle = None  # type: ignore[assignment]  # a connection that is kept would hold the request's version
        if request.disconnected or self.transport.is_closing():
            return
        status = 200
        if isinstance(answer, RequestError):
            status, body = answer.http, json.dumps({"error": answer.details}).encode()
        else:
            body = answer
        end = b"\r\n\r\n" if request.keep_alive else b"\r\nconnection: close\r\n\r\n"
        head = self.door.head(status, self.server_state.default_headers)
        self.transport.write(b"".join((head, str(len(body)).encode(), end, body)))
        if not request.keep_alive:
            self.transport.close()
        self.on_response_complete()
