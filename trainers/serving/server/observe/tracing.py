"""OpenTelemetry spans of requests, joined to the client's trace by its `traceparent`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from engine.core.errors import ConfigError

__all__ = ["Tracing"]


class Tracing:
    """Makes a span a request where spans are asked for, else nothing.

    Args:
        target: URL of a collector (OTLP over HTTP), a file that spans are appended to as JSON, or None.
        exporter: in place of the target's, for programs that bring their own.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """

    def __init__(self, target: str | None, exporter: Any = None) -> None:
        self._tracer: Any = None
        self._provider: Any = None
        if target is None and exporter is None:
            return
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError as error:
            raise ConfigError(f"traces need `pip install fullpass[tracing]`: {error}") from None
        self._provider = TracerProvider(resource=Resource.create({"service.name": "fullpass-serve"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _exporter(str(target))))
        self._tracer = self._provider.get_tracer("fullpass.serve")

    @contextlib.contextmanager
    def request(self, model: str, signature: str, carrier: Mapping[str, str] | None) -> Iterator[Any]:
        """Yields the span of a request, or None; an error that passes through is recorded in it.

        Args:
            model: that is asked.
            signature: of it.
            carrier: headers or metadata of the request.
        """
        if self._tracer is None:
            yield None
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(carrier or {})
        attributes = {"model": model, "signature": signature or "serving_default"}
        with self._tracer.start_as_current_span(
            f"predict {model}", context=parent, kind=SpanKind.SERVER, attributes=attributes
        ) as span:
            yield span

    def close(self) -> None:
        """Sends what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def _exporter(target: str) -> Any:
    if "://" in target:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=target)
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    # Appended, line by line: the processes of a server share the file.
    return ConsoleSpanExporter(
        out=open(target, "a", buffering=1),
        formatter=lambda span: span.to_json(indent=None) + "\n",
    )
