"""A client over gRPC of the `server` that a module has."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def channel(server):
    """A channel to the server."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{server.config.grpc_port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def stub(channel):
    """TensorFlow Serving's own client."""
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    return prediction_service_pb2_grpc.PredictionServiceStub(channel)
