"""A server of Google Cloud Storage's interface on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["environment_of_gs", "gs_server"]


def environment_of_gs(address: str) -> dict[str, str]:
    """Returns the variables by which gcsfs finds a server."""
    return {
        "STORAGE_EMULATOR_HOST": f"http://{address}",
        # Whether a bucket has real directories is asked by gRPC, which this server does not speak: it would be waited for.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }


@contextlib.contextmanager
def gs_server(bucket: str = "data") -> Iterator[str]:
    """Yields "host:port" of a running server that holds one empty bucket."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
    server.start()
    try:
        host, port = server._api._httpd.server_address  # it does not say which port it was given
        yield f"{host}:{port}"
    finally:
        server.stop()
