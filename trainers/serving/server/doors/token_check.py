"""The token of a server, asked for on each gRPC call."""

from __future__ import annotations

import hmac
from typing import Any

import grpc

__all__ = ["TokenCheck"]


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
