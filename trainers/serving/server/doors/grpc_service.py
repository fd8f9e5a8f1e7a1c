"""TensorFlow Serving's gRPC services: PredictionService and ModelService."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from engine.core.errors import ConfigError
from trainers.serving.server.config import ModelConfig, VersionPolicy
from trainers.serving.server.core import Answer, Core
from trainers.serving.server.doors.scores import classes_of, regressions_of
from trainers.serving.server.doors.tensors import from_proto, to_proto
from trainers.serving.server.errors import Denied, InvalidRequest, RequestError
from trainers.serving.server.signatures import examples_of
from trainers.serving.server.versions import LoadedVersion

__all__ = ["ModelService", "PredictionService", "asked_of", "classification_of", "model_spec_of", "regression_of"]


_CLASSIFY, _REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


class _Service:
    def __init__(self, core: Core) -> None:
        self._core = core

    async def _answered(self, context: Any, model: str, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await work()
        except RequestError as refused:
            error = refused
            self._core.failed(model, error)
        except Exception as failure:
            error = self._core.failed_itself(model, failure)
        await context.abort(getattr(grpc.StatusCode, error.code), error.details)

    async def _predict(
        self, spec: Any, tensors: Mapping[str, Any], context: Any, at: LoadedVersion | None = None
    ) -> Answer:
        _, number, label = asked_of(spec)
        left = context.time_remaining()
        deadline = None if left is None else time.monotonic() + left
        carrier = None
        if self._core.config.trace:
            carrier = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        return await self._core.predict(
            spec.name,
            tensors,
            signature=spec.signature_name,
            number=number,
            label=label,
            deadline=deadline,
            carrier=carrier,
            at=at,
        )


class PredictionService(_Service):
    """Predict, Classify, Regress, MultiInference, GetModelMetadata."""

    async def Predict(self, request: Any, context: Any) -> Any:
        """Answers any signature."""

        async def work() -> Any:
            limit = self._core.config.limits.request_bytes
            tensors = {name: from_proto(name, value, limit) for name, value in request.inputs.items()}
            answer = await self._predict(request.model_spec, tensors, context)
            wanted = list(request.output_filter) or list(answer.outputs)
            unknown = sorted(set(wanted) - set(answer.outputs))
            if unknown:
                raise InvalidRequest(
                    f"output_filter: no output {', '.join(unknown)}; expected {', '.join(sorted(answer.outputs))}"
                )
            response = predict_pb2.PredictResponse(model_spec=_spec(answer))
            for name in wanted:
                response.outputs[name].CopyFrom(to_proto(answer.outputs[name]))
            return response

        return await self._answered(context, request.model_spec.name, work)

    async def Classify(self, request: Any, context: Any) -> Any:
        """Answers classes and scores of examples."""

        async def work() -> Any:
            answer = await self._predict(request.model_spec, {"": examples_of(request.input)}, context)
            return classification_pb2.ClassificationResponse(
                model_spec=_spec(answer), result=classification_of(answer.outputs)
            )

        return await self._answered(context, request.model_spec.name, work)

    async def Regress(self, request: Any, context: Any) -> Any:
        """Answers one number an example."""

        async def work() -> Any:
            answer = await self._predict(request.model_spec, {"": examples_of(request.input)}, context)
            return regression_pb2.RegressionResponse(model_spec=_spec(answer), result=regression_of(answer.outputs))

        return await self._answered(context, request.model_spec.name, work)

    async def MultiInference(self, request: Any, context: Any) -> Any:
        """Answers several signatures for the same examples."""
        name = request.tasks[0].model_spec.name if request.tasks else ""

        async def work() -> Any:
            first = asked_of(request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec())
            held = {first: self._core.version(*first)}  # one answers all tasks, though another takes over meanwhile
            _check_tasks(request.tasks)
            for task in request.tasks:
                asked = asked_of(task.model_spec)
                held[asked] = held.get(asked) or self._core.version(*asked)
                unknown = "Requested signature not found in model graph: {}."
                held[asked].signature(task.model_spec.signature_name, unknown, InvalidRequest)
            examples = examples_of(request.input)
            response = inference_pb2.MultiInferenceResponse()
            for task in request.tasks:
                asked = asked_of(task.model_spec)
                answer = await self._predict(task.model_spec, {"": examples}, context, held[asked])
                result = response.results.add(model_spec=_spec(answer))
                if task.method_name == _CLASSIFY:
                    result.classification_result.CopyFrom(classification_of(answer.outputs))
                else:
                    result.regression_result.CopyFrom(regression_of(answer.outputs))
            return response

        return await self._answered(context, name, work)

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        """Answers the definitions of the signatures."""

        async def work() -> Any:
            unknown = [field for field in request.metadata_field if field != "signature_def"]
            if unknown or not request.metadata_field:
                raise InvalidRequest(
                    f"metadata_field: got {', '.join(request.metadata_field) or 'none'}; expected signature_def"
                )
            spec = request.model_spec
            version = self._core.version(*asked_of(spec))
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in version.definitions.items():
                signatures.signature_def[name].CopyFrom(definition)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = spec.name
            response.model_spec.version.value = version.number
            response.metadata["signature_def"].Pack(signatures)
            return response

        return await self._answered(context, request.model_spec.name, work)


class _Unimplemented(RequestError, code="UNIMPLEMENTED", http=501):
    """A method that there is none of."""


def _check_tasks(tasks: Any) -> None:
    """Refuses tasks that TensorFlow Serving refuses, before one of them is run.

    Raises:
        RequestError: they are for several models, ask a signature twice, or an unknown method.
    """
    names = {task.model_spec.name for task in tasks}
    if len(names) > 1:
        raise InvalidRequest(
            f"All ModelSpecs in a MultiInferenceRequest must access the same model name. Got {', '.join(sorted(names))}"
        )
    seen = set()
    for task in tasks:
        name = task.model_spec.signature_name or "serving_default"
        if name in seen:
            raise InvalidRequest(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if task.method_name not in (_CLASSIFY, _REGRESS):
            raise _Unimplemented(
                f"Unsupported signature method_name: {task.method_name!r}; expected {_CLASSIFY!r} or {_REGRESS!r}"
            )


class ModelService(_Service):
    """GetModelStatus, HandleReloadConfigRequest.

    Args:
        core: that answers.
        reload: serves another list of models, in all processes of the server.
    """

    def __init__(self, core: Core, reload: Callable[[tuple[ModelConfig, ...]], None]) -> None:
        super().__init__(core)
        self._reload = reload

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        """Answers the state of a model's versions."""

        async def work() -> Any:
            response = get_model_status_pb2.GetModelStatusResponse()
            for number, state, text in self._core.states(*asked_of(request.model_spec)):
                status = response.model_version_status.add(version=number, state=state)
                # 2 is UNKNOWN: what was wrong with the version is in the text.
                status.status.error_code = 2 if text else 0
                status.status.error_message = text
            return response

        return await self._answered(context, request.model_spec.name, work)

    async def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        """Serves another list of models, where the server allows it."""

        async def work() -> Any:
            if not self._core.config.allow_reload:
                raise Denied("models are fixed when the server starts; start it with --allow-reload to change them")
            models = self._models_of(request.config)
            await asyncio.get_running_loop().run_in_executor(None, self._reload, models)
            return model_management_pb2.ReloadConfigResponse()

        return await self._answered(context, "", work)

    def _models_of(self, config: Any) -> tuple[ModelConfig, ...]:
        if config.WhichOneof("config") != "model_config_list":
            raise InvalidRequest("config: got no model_config_list, which alone can be reloaded")
        given = config.model_config_list.config
        names = [each.name for each in given]
        if not names or len(set(names)) != len(names) or not all(each.base_path for each in given):
            raise InvalidRequest(
                f"model_config_list: got {', '.join(names) or 'none'}; expected one or more models, each name once, with base_path"
            )
        known = {model.name: model for model in self._core.config.models}
        try:
            return tuple(_model(each, known.get(each.name)) for each in given)
        except ConfigError as error:
            raise InvalidRequest(str(error)) from None


def _model(config: Any, known: ModelConfig | None) -> ModelConfig:
    policy = config.model_version_policy
    specific = tuple(policy.specific.versions) if policy.HasField("specific") else ()
    latest = policy.latest.num_versions or 1
    changes = {
        "directory": config.base_path,
        "policy": VersionPolicy(latest=latest, specific=specific, all=policy.HasField("all")),
        "labels": dict(config.version_labels),
    }
    # What TensorFlow Serving's configuration has no words for stays as the server was started.
    if known is None:
        return ModelConfig(name=config.name, **changes)
    share = known.canary_share if "canary" in config.version_labels else 0.0
    return dataclasses.replace(known, canary_share=share, **changes)


def asked_of(spec: Any) -> tuple[str, int | None, str | None]:
    """Returns name, number and label that a ModelSpec asks for."""
    return spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None


def model_spec_of(version: LoadedVersion, signature: str) -> Any:
    """Returns what an answer says of who gave it."""
    spec = model_pb2.ModelSpec(name=version.model, signature_name=signature)
    spec.version.value = version.number
    return spec


def _spec(answer: Answer) -> Any:
    return model_spec_of(answer.version, answer.signature)


def classification_of(outputs: Mapping[str, np.ndarray]) -> Any:
    """Returns the classes of outputs as a message.

    Raises:
        InvalidRequest: the outputs are not classes.
    """
    result = classification_pb2.ClassificationResult()
    for row in classes_of(outputs):
        classes = result.classifications.add().classes
        for label, score in row:
            classes.add(label=label, score=score)
    return result


def regression_of(outputs: Mapping[str, np.ndarray]) -> Any:
    """Returns one number a row of outputs as a message.

    Raises:
        InvalidRequest: the outputs are not one number a row.
    """
    result = regression_pb2.RegressionResult()
    for value in np.asarray(regressions_of(outputs)).tolist():
        result.regressions.add(value=value)
    return result
