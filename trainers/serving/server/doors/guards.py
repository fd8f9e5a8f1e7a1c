"""Who may come in: the token of each gRPC call, and certificates that are read anew when their files change."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from trainers.serving.server.config import ServeConfig

__all__ = ["TokenCheck", "follow_certificates", "grpc_credentials"]

_LOG = logging.getLogger("fullpass.serve")


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

    def _marks(self) -> list[tuple[int, int]]:
        paths = [path for path in (self.key, self.certificate, self.authority) if path]
        return [(each.st_mtime_ns, each.st_ino) for each in map(os.stat, paths)]

    def changed(self, read: Callable[[], Any]) -> Any:
        """Returns what `read` returns where the files are others than at the last look, else None.

        A key may be renewed a moment before its certificate, and a file be gone meanwhile: the next look tries again.
        """
        try:
            marks = self._marks()
            if marks == self._seen:
                return None
            pair = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            pair.load_cert_chain(self.certificate, self.key)  # raises where the two do not belong together
            found = read()
        except (OSError, ssl.SSLError) as error:
            _LOG.warning("the certificates could not be read anew, those before stay: %s", error)
            return None
        self._seen = marks
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


async def follow_certificates(config: ServeConfig, context: ssl.SSLContext, stopped: Callable[[], bool]) -> None:
    """Reads changed files into the context of a server until it stops; an authority that is added is trusted beside those before."""
    files = _Files(config)

    def read() -> bool:
        context.load_cert_chain(files.certificate, files.key)
        if files.authority:
            context.load_verify_locations(files.authority)
        return True

    while not stopped():
        await asyncio.sleep(config.poll_s)
        files.changed(read)
