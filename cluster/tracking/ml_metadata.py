"""A finished run in a store of ML Metadata: steps as executions, what they read and wrote as artifacts, the run as a context.

Artifacts have TFX's types (Examples, TransformGraph, Model, ModelEvaluation, ...), so that what lists those lists ours.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from cluster.pipeline.records import Finished
from cluster.report.runs import Run
from engine.core.errors import FullpassError

__all__ = ["record_ml_metadata"]

# (step, output) to TFX's name of what it is; any other output is a file of ours.
_TYPES = {
    ("ingest", "train"): "Examples",
    ("ingest", "eval"): "Examples",
    ("transform", "train"): "Examples",
    ("transform", "eval"): "Examples",
    ("stats", "train"): "ExampleStatistics",
    ("stats", "eval"): "ExampleStatistics",
    ("validate", "train"): "ExampleAnomalies",
    ("validate", "eval"): "ExampleAnomalies",
    ("validate", "serving"): "ExampleAnomalies",
    ("analyze", "graph"): "TransformGraph",
    ("train", "checkpoints"): "ModelRun",
    ("export", "model"): "Model",
    ("evaluate", "result"): "ModelEvaluation",
}
_OTHER = "fullpass.Output"


def record_ml_metadata(run: Run, file: Path, pipeline: str) -> str:
    """Records a run in the store of an SQLite file, once for the same results, and returns a line that says where.

    Args:
        run: the finished run.
        file: the store; made where it is not there.
        pipeline: its name, the context of all its runs.

    Raises:
        FullpassError: the store cannot be opened or refuses the run.
    """
    from ml_metadata import errors
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as pb

    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(file)
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    try:
        return _Recorder(metadata_store.MetadataStore(config), pb, run, pipeline).record(file)
    except errors.StatusError as error:
        raise FullpassError(f"mlmd {file}: {' '.join(str(error).split())}; the run itself is finished") from None


class _Recorder:
    """Writes one run; what the store has by its name is taken, not written again."""

    def __init__(self, store: Any, pb: Any, run: Run, pipeline: str) -> None:
        self._store, self._pb, self._run, self._pipeline = store, pb, run, pipeline
        self._types: dict[tuple[str, str], int] = {}

    def record(self, file: Path) -> str:
        pb, store = self._pb, self._store
        contexts = [self._context("pipeline", self._pipeline), self._context("pipeline_run", self._run_name())]
        written = 0
        for step, finished in self._run.steps.items():
            type_id = self._type("Execution", f"fullpass.{step}")
            name = self._name(finished)
            there = store.get_execution_by_type_and_name(f"fullpass.{step}", name)
            if there is not None:
                store.put_attributions_and_associations(
                    [], [pb.Association(execution_id=there.id, context_id=context.id) for context in contexts]
                )
                continue
            execution = pb.Execution(type_id=type_id, name=name, last_known_state=pb.Execution.COMPLETE)
            self._facts(execution.custom_properties, finished)
            store.put_execution(execution, self._events(step, finished), contexts)
            written += 1
        if not written:
            return f"mlmd {file} has these results already"
        return f"mlmd {file}: {written} executions of pipeline {self._pipeline}"

    def _context(self, type_name: str, name: str) -> Any:
        there = self._store.get_context_by_type_and_name(type_name, name) if self._known("Context", type_name) else None
        if there is not None:
            return there
        context = self._pb.Context(type_id=self._type("Context", type_name), name=name)
        (context.id,) = self._store.put_contexts([context])
        return context

    def _known(self, kind: str, name: str) -> bool:
        return any(t.name == name for t in getattr(self._store, f"get_{kind.lower()}_types")())

    def _type(self, kind: str, name: str) -> int:
        if (kind, name) not in self._types:
            message = getattr(self._pb, f"{kind}Type")(name=name)
            # A store that TFX wrote has its types with properties: they stay.
            put = getattr(self._store, f"put_{kind.lower()}_type")
            self._types[kind, name] = put(message, can_omit_fields=True)
        return self._types[kind, name]

    def _events(self, step: str, finished: Finished) -> list[tuple[Any, Any]]:
        pb = self._pb
        events = []
        for before, directory in finished.record.before.items():
            other = self._run.steps.get(before)
            if other is not None and other.directory.name == directory:
                for output in other.record.outputs:
                    events.append(
                        (self._artifact(before, other, output), self._event(pb.Event.INPUT, f"{before}.{output}"))
                    )
        for output in finished.record.outputs:
            events.append((self._artifact(step, finished, output), self._event(pb.Event.OUTPUT, output)))
        return events

    def _event(self, kind: Any, key: str) -> Any:
        event = self._pb.Event(type=kind)
        event.path.steps.add().key = key
        event.path.steps.add().index = 0
        return event

    def _artifact(self, step: str, finished: Finished, output: str) -> Any:
        type_name = _TYPES.get((step, output), _OTHER)
        type_id = self._type("Artifact", type_name)
        name = f"{self._name(finished)}/{output}"
        there = self._store.get_artifact_by_type_and_name(type_name, name)
        if there is not None:
            return there
        artifact = self._pb.Artifact(
            type_id=type_id, name=name, uri=finished.output(output), state=self._pb.Artifact.LIVE
        )
        artifact.custom_properties["key"].string_value = finished.record.key
        if step == "evaluate":
            artifact.custom_properties["blessed"].int_value = int(bool(finished.record.info.get("blessed")))
            for metric, value in finished.record.info.get("overall", {}).items():
                if value is not None and math.isfinite(value):
                    artifact.custom_properties[metric].double_value = value
        return artifact

    def _facts(self, properties: Any, finished: Finished) -> None:
        record = finished.record
        for name, count in (("rows_in", record.rows_in), ("rows_out", record.rows_out)):
            properties[name].int_value = count
        properties["set_aside"].int_value = sum(record.set_aside.values())
        properties["seconds"].double_value = record.seconds
        properties["finished_at"].string_value = record.finished_at
        properties["key"].string_value = record.key
        for part, value in record.parts.items():
            properties[f"setting {part}"].string_value = value

    def _run_name(self) -> str:
        """Returns a name that is the same for the same results in the same place."""
        digest = hashlib.sha256(f"{self._run.path} {self._run.digest}".encode()).hexdigest()
        return f"{self._pipeline} {digest[:12]}"

    def _name(self, finished: Finished) -> str:
        return str(
            finished.directory
        )  # names are unique by type in a store, and a store may hold many working directories
