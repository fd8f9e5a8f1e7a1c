"""Who may come in: the token of each gRPC call, and certificates that are read anew when their files change."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from trainers.serving.server.config import ServeConfig

__all__ = ["FollowingContext", "TokenCheck", "grpc_credentials", "rest_context"]

_LOG = logging.getLogger("fullpass.serve")
_AGAIN_S = 1.0  # between two looks at files that could not be read: each new connection asks for one


class TokenCheck(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without the server's token."""

    def __init__(self, token: str) -> None:
        self._wanted = f"Bearer {token}".encode()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Answers UNAUTHENTICATED in the handler's place."""
        given = dict(details.invocation_metadata).get("authorization", "")
        if hmac.compare_digest(given.encode() if isinstance(given, str) else given, self._wanted):
            return await continuation(details)

        async def refuse(requests: Any, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the call has no valid token")

        # Of streams, whatever the method is: a handler of one message is called once that has come, and who never sends it
        # would hold one of the calls that the server answers at once.
        return grpc.stream_stream_rpc_method_handler(refuse)


class _Files:
    """Key, certificate and clients' authority, and what they looked like when they were read."""

    def __init__(self, config: ServeConfig) -> None:
        self.key, self.certificate = str(config.tls_key), str(config.tls_certificate)
        self.authority = config.client_ca
        self._seen = self._marks()
        self._said, self._next = "", 0.0

    def _marks(self) -> list[tuple[int, int]]:
        paths = [path for path in (self.key, self.certificate, self.authority) if path]
        return [(each.st_mtime_ns, each.st_ino) for each in map(os.stat, paths)]

    def changed(self, read: Callable[[], Any]) -> Any:
        """Returns what `read` returns where the files are others than at the last look, else None.

        A key may be renewed a moment before its certificate, and a file be gone meanwhile: the next look tries again.
        """
        if time.monotonic() < self._next:
            return None
        try:
            marks = self._marks()
            if marks == self._seen:
                return None
            pair = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            pair.load_cert_chain(self.certificate, self.key)  # raises where the two do not belong together
            found = read()
        except (OSError, ssl.SSLError) as error:
            self._next = time.monotonic() + _AGAIN_S
            if str(error) != self._said:
                self._said = str(error)
                _LOG.warning("the certificates could not be read anew, those before stay: %s", error)
            return None
        self._seen, self._said = marks, ""
        return found


def grpc_credentials(config: ServeConfig) -> Any:
    """Returns credentials of a gRPC server; each new connection gets the certificate that is in the file then."""
    files = _Files(config)

    def read() -> Any:
        pair = (Path(files.key).read_bytes(), Path(files.certificate).read_bytes())
        authority = Path(files.authority).read_bytes() if files.authority else None
        return grpc.ssl_server_certificate_configuration([pair], authority)

    return grpc.dynamic_ssl_server_credentials(
        read(), lambda: files.changed(read), require_client_authentication=files.authority is not None
    )


class FollowingContext(ssl.SSLContext):
    """A server's context that gives each new connection the one of the files as they were read last.

    A fresh one: an authority that was replaced is trusted no longer, nor sessions of clients that had a certificate of it.

    Args:
        config: of the server.
        make: returns a context of the files.
    """

    def __new__(cls, config: ServeConfig, make: Callable[[], ssl.SSLContext]) -> FollowingContext:
        """Makes it for servers."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, config: ServeConfig, make: Callable[[], ssl.SSLContext]) -> None:
        self._files = _Files(config)  # first: what is renewed while they are read is seen at the next look
        self._make, self._current = make, make()

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """Returns a connection's TLS, as event loops ask for it."""
        return self._current.wrap_bio(*args, **named)

    async def follow(self, poll_s: float, stopped: Callable[[], bool]) -> None:
        """Reads changed files until the server stops."""
        while not stopped():
            await asyncio.sleep(poll_s)
            self._current = self._files.changed(self._make) or self._current


def rest_context(config: ServeConfig) -> FollowingContext:
    """Returns the context of a server of REST."""
    from uvicorn.config import SSL_PROTOCOL_VERSION, create_ssl_context

    required = ssl.CERT_REQUIRED if config.client_ca else ssl.CERT_NONE
    return FollowingContext(
        config,
        lambda: create_ssl_context(
            str(config.tls_certificate), config.tls_key, None, SSL_PROTOCOL_VERSION, required, config.client_ca, None
        ),
    )
