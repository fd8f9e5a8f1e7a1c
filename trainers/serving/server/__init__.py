"""A server of models: TensorFlow Serving's API over gRPC and REST, batches across requests, versions swapped while requests flow."""

from trainers.serving.server.config import BatchingConfig, Limits, ModelConfig, ServeConfig, VersionPolicy
from trainers.serving.server.processes import serve

__all__ = ["BatchingConfig", "Limits", "ModelConfig", "ServeConfig", "VersionPolicy", "serve"]
