"""What gRPC and REST have in common: a request for a model's signature, answered by the version that is live, in a batch."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from engine.core.errors import DataError
from engine.core.redaction import redact
from engine.machine.garbage import Departures
from trainers.serving.server.batcher import Batcher, Waiting
from trainers.serving.server.config import ModelConfig, ServeConfig
from trainers.serving.server.errors import (
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    Overloaded,
    RequestError,
    Unavailable,
)
from trainers.serving.server.observe.access_log import AccessLog
from trainers.serving.server.observe.metrics import Metrics
from trainers.serving.server.observe.recording import Recorder
from trainers.serving.server.observe.tracing import Tracing
from trainers.serving.server.versions import NO_SIGNATURE, LoadedVersion, ServedModel, State

__all__ = ["Answer", "Core"]

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a signature answered, and which version it was."""

    version: LoadedVersion
    signature: str
    outputs: dict[str, np.ndarray]


class Core:
    """The models of a server and their batches; made in the event loop that calls it.

    Args:
        config: of the server.
        metrics: that count its requests.
        models: to begin with, where a client has asked for others than those of the configuration.
    """

    def __init__(self, config: ServeConfig, metrics: Metrics, models: tuple[ModelConfig, ...] | None = None) -> None:
        self.config, self.metrics = config, metrics
        self.draining = False
        self._in_flight = 0
        self._executor = ThreadPoolExecutor(config.batching.num_batch_threads, thread_name_prefix="batch")
        self._batchers: dict[tuple[LoadedVersion, str], Batcher] = {}
        self._recorder = Recorder(config, metrics.count_left_out) if config.record_share else None
        self._access_log, self._tracing = AccessLog(config.access_log_share), Tracing(config.trace)
        self._stop = threading.Event()
        self._departures = Departures()  # of versions; requests may hold one a while
        self._leaving: list[ServedModel] = []  # whose names are served no longer; `load` lets their versions go
        self._loading = threading.Lock()
        self._unread: dict[ServedModel, str] = {}  # what was wrong with the directory of each at the last look
        # Those of the start have their labels at once: a version may come later.
        self._models = {each.name: ServedModel(each, config.limits, self._changed) for each in models or config.models}
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="versions")

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """The models by name."""
        return self._models

    @property
    def ready(self) -> bool:
        """Whether every model has a version, and the server is not stopping."""
        return not self.draining and all(model.live for model in self._models.values())

    @property
    def waits(self) -> bool:
        """Whether a model has no version of its directory yet."""
        return any(model.why_empty() is not None for model in self._models.values())

    @property
    def wanted(self) -> tuple[ModelConfig, ...]:
        """The list that is served, or will be once the versions that it waits for are there."""
        return tuple(model.wanted for model in self._models.values())

    def reload(self, models: tuple[ModelConfig, ...], *, follow: bool = False) -> None:
        """Serves these models from now on; blocks until they were looked for.

        One that is served already keeps its versions and labels until those that it is to have answer.

        Args:
            models: to be served.
            follow: another process serves them already: labels whose versions cannot be served yet are set once they are.

        Raises:
            Unavailable: a model has no version that can be served; it is waited for.
            FailedPrecondition: a label is for a version that is not served; the labels of its model stay as they were.
        """
        with self._loading:
            self._set_models(models)
            self._load()
            missing = [(name, model.settle(follow)) for name, model in self._models.items()]
            for name, model in self._models.items():
                why = model.why_empty()
                if why is not None:
                    place = redact(model.config.directory)  # a client reads it
                    raise Unavailable(f"model {name!r}: {place} has no version that can be served yet; {why}")
            for name, labels in missing:
                for label, number in labels.items():
                    _, text = self._models[name].states.get(number, (State.END, ""))
                    raise FailedPrecondition(
                        f"label {label!r} of model {name!r}: version {number} is not available for inference; "
                        f"{text or 'it is not served'}. The labels of the model stay as they were"
                        f"{' until it is' if follow else ': load the version first'}"
                    )

    def load(self) -> None:
        """Looks for versions once; blocks. A directory that cannot be read, or is not there yet, holds up no other model."""
        with self._loading:  # a client's reload comes while the thread that follows the directories looks
            self._load()

    def _set_models(self, models: tuple[ModelConfig, ...]) -> None:
        old = self._models
        new = {}
        for config in models:
            known = old.get(config.name)
            if known is not None and known.config.directory.rstrip("/") == config.directory.rstrip("/"):
                new[config.name] = known
            else:
                bare = dataclasses.replace(config, labels={}, canary_share=0.0)
                new[config.name] = ServedModel(bare, self.config.limits, self._changed, before=known)
            new[config.name].change(config)
        self._models = new
        self._leaving += [model for name, model in old.items() if name not in new]

    def _load(self) -> None:
        models = list(self._models.values())
        for model in models:
            said, text = self._unread.get(model), ""
            try:
                model.reload()
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
            self._unread[model] = text
            if text not in ("", said):  # said once, not at each look
                self.metrics.warn(f"{model.config.directory} cannot be read: {text}")
        while self._leaving:
            self._leaving.pop().close()
        self._unread = {model: text for model, text in self._unread.items() if model in models}
        # A batcher holds its version, and that the model.
        for key in [each for each in list(self._batchers) if not self._is_live(each[0])]:
            self._batchers.pop(key, None)
        self._departures.collect()

    def start_watching(self) -> None:
        """Follows the directories of the models from now on."""
        self._watcher.start()

    async def predict(
        self,
        model: str,
        tensors: Mapping[str, Any],
        *,
        signature: str = "",
        number: int | None = None,
        label: str | None = None,
        deadline: float | None = None,
        carrier: Mapping[str, str] | None = None,
        at: LoadedVersion | None = None,
    ) -> Answer:
        """Returns the answer of a signature.

        Args:
            model: its name.
            tensors: inputs by name; serialized examples, of a signature that takes nothing else, have the name "".
            signature: its name; `serving_default` where empty.
            number, label: of the version.
            deadline: on `time.monotonic`'s clock.
            carrier: headers or metadata of the request, which say what trace it belongs to.
            at: the version itself, where the caller has found it already: one that is let go meanwhile still answers.

        Raises:
            RequestError: of the kind that says why not.
        """
        with self._tracing.request(model, signature, carrier) as span:
            version = at or self.version(model, number, label)
            if list(tensors) != [""]:
                wanted = version.signature(signature)
            else:
                wanted = version.signature(signature, NO_SIGNATURE, InvalidRequest)
                if wanted.examples_input is None:
                    raise InvalidRequest(f"signature {wanted.name!r} takes no examples; use Predict")
                tensors = {wanted.examples_input: tensors[""]}
            self._check_in_flight()
            start = time.perf_counter()
            self._in_flight += 1
            try:
                flat = wanted.takes_flat(tensors)
                given = wanted.with_columns(tensors) if flat else tensors
                arrays, rows = wanted.checked(given, self.config.limits.request_rows)
                outputs = await self._batcher(version, wanted.name).call(arrays, rows, deadline)
                if flat:
                    outputs = wanted.without_columns(outputs)
            except DataError as error:
                raise InvalidRequest(f"{error} (element {error.record})") from None
            except Exception as failure:
                raise self.error_of(version, failure) from None
            finally:
                self._in_flight -= 1
                seconds = time.perf_counter() - start
                self.metrics.observe_latency(model, seconds)
            self.metrics.count(model, "OK", rows)
            self._access_log.note(model, "OK", version=version.number, rows=rows, seconds=seconds)
            if span is not None:
                span.set_attributes({"version": version.number, "rows": rows})
            if self._recorder is not None:
                inputs = arrays if wanted.examples_input is None else arrays[wanted.examples_input]
                if wanted.examples_input is None and not wanted.has_rows:
                    inputs = {}  # which is counted
                self._recorder.offer(model, version.number, inputs, outputs, version.feature_names, wanted.name)
            return Answer(version, wanted.name, outputs)

    @property
    def submits(self) -> bool:
        """Whether `submit` is for the requests of this server: it neither records nor traces them, nor runs one alone."""
        return self._recorder is None and self.config.trace is None and self.config.batching.enable_batching

    def submit(self, version: LoadedVersion, signature: str, waiting: Waiting) -> None:
        """Takes a request that was read natively; `answered` must be called when its `finish` was.

        Raises:
            Overloaded: too many requests are in flight or wait.
            Unavailable: the server is stopping; it may have begun to while the body came in.
        """
        self._check_open()
        self._check_in_flight()
        self._batcher(version, signature).submit(waiting)
        self._in_flight += 1

    def answered(self, version: LoadedVersion, rows: int, seconds: float, error: RequestError | None) -> None:
        """Notes that a request of `submit` has its answer, or the error."""
        self._in_flight -= 1
        self.metrics.observe_latency(version.model, seconds)
        if error is not None:
            self.failed(version.model, error)
            return
        self.metrics.count(version.model, "OK", rows)
        self._access_log.note(version.model, "OK", version=version.number, rows=rows, seconds=seconds)

    def error_of(self, version: LoadedVersion, failure: BaseException) -> RequestError:
        """Returns what a client is told; what is not its own fault is in the log."""
        if isinstance(failure, RequestError):
            return failure
        _LOG.error("model %s version %d", version.model, version.number, exc_info=failure)
        return RequestError("the model failed; the server's log says why")

    def failed_itself(self, model: str, failure: Exception) -> RequestError:
        """Returns what a client is told where the server did something that nobody foresaw; the log says what."""
        _LOG.error("a request for model %s", model if model in self._models else "?", exc_info=failure)
        error = RequestError("the server failed; its log says why")
        self.failed(model, error)
        return error

    def _check_in_flight(self) -> None:
        if self._in_flight >= self.config.limits.in_flight:
            raise Overloaded(f"{self._in_flight} requests are in flight already; try again later")

    def _check_open(self) -> None:
        if self.draining:
            raise Unavailable("the server is stopping")

    def version(self, model: str, number: int | None = None, label: str | None = None) -> LoadedVersion:
        """Returns the version that answers such a request.

        Raises:
            NotFound: no such model, version or label.
            Unavailable: the server is stopping.
        """
        self._check_open()
        return self.model(model).find(number, label)

    def model(self, name: str) -> ServedModel:
        """Returns a model.

        Raises:
            InvalidRequest: no name.
            NotFound: none of this name.
        """
        if not name:
            raise InvalidRequest("ModelSpec has no name specified.")
        if name not in self._models:
            raise NotFound(
                f"Servable not found for request: Latest({name}); the models are {', '.join(sorted(self._models))}"
            )
        return self._models[name]

    def states(self, name: str, number: int | None = None, label: str | None = None) -> list[tuple[int, int, str]]:
        """Returns number, state and error text of the versions of a model, the highest first, or of the one that was asked for.

        Raises:
            NotFound: no such model, version or label, or a model of which no version was ever found.
        """
        model = self.model(name)
        if label:
            number = model.numbered(label)
        states = sorted(model.states.items(), reverse=True)
        found = [(each, *state) for each, state in states if number in (None, each)]
        if not found:
            raise NotFound(
                f"Could not find {'any versions' if number is None else f'version {number}'} of model {name}"
            )
        return found

    def failed(self, model: str, error: RequestError) -> None:
        """Counts a request that was refused."""
        model = model if model in self._models else ""  # a stranger's words are no label and no line of a log
        self.metrics.count(model, error.code, 0)
        self._access_log.note(model, error.code)

    async def drain(self) -> None:
        """Refuses new requests and waits for those in flight, for `drain_s` at most."""
        self.draining = True
        self._stop.set()
        until = time.monotonic() + self.config.drain_s
        while self._in_flight and time.monotonic() < until:
            await asyncio.sleep(0.01)
        if self._recorder is not None:
            self._recorder.close()
        self._tracing.close()
        self._executor.shutdown(wait=False)

    def _batcher(self, version: LoadedVersion, signature: str) -> Batcher:
        key = (version, signature)
        batcher = self._batchers.get(key)  # once: the thread that loads versions may take it out at any time
        if batcher is None:
            batcher = Batcher(
                version.signatures[signature], self.config.batching, self._executor, self.metrics.observe_batch
            )
            # A body may come in while its version is let go: only the next `load` would take the batcher out.
            if self._is_live(version):
                self._batchers[key] = batcher
        return batcher

    def _is_live(self, version: LoadedVersion) -> bool:
        model = self._models.get(version.model)
        return model is not None and model.serves(version)

    def _changed(self, version: LoadedVersion, loaded: bool) -> None:
        # A version of this number may be served from another directory by now.
        served = self._models.get(version.model)
        still = served is not None and version.number in served.live
        self.metrics.set_version(version.model, version.number, loaded or still)
        if loaded:
            _LOG.warning("model %s: version %d is served", version.model, version.number)
        else:
            self._departures.note(version)

    def _watch(self) -> None:
        while not self._stop.wait(self.config.poll_s):
            try:
                self.load()
            except Exception as error:  # a thread that ended here would leave the models as they are for ever
                self.metrics.warn(f"the versions of the models were not all looked at: {type(error).__name__}: {error}")
