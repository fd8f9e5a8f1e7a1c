"""What the gRPC port of a server answers."""

from __future__ import annotations

from typing import Any

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from trainers.serving.server.core import Core
from trainers.serving.server.doors.grpc_service import ModelService, PredictionService
from trainers.serving.server.doors.predict_calls import PredictCalls

__all__ = ["add_services"]


def add_services(server: Any, core: Core) -> None:
    """Adds TensorFlow Serving's services to a `grpc.aio` server."""
    service = PredictionService(core)
    # The first that knows a method answers it: these without deserializer and serializer, which would make messages of their bytes.
    short = {
        method: grpc.unary_unary_rpc_method_handler(PredictCalls(core, service, method).answer)
        for method in ("Predict", "Classify", "Regress")
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", short),)
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core), server)
