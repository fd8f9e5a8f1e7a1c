"""A pipeline as data: one frozen dataclass a step, read from a TOML file or built in Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.pipeline.data_config import DataConfig
from cluster.pipeline.ingest_config import IngestConfig
from cluster.pipeline.source_config import SourceConfig, rooted
from cluster.steps.analyze import AnalyzeConfig
from cluster.steps.evaluate import EvaluateConfig
from cluster.steps.export import ExportConfig
from cluster.steps.push import PushConfig
from cluster.steps.stats import StatsConfig
from cluster.steps.train import TrainConfig
from cluster.steps.transform import TransformConfig
from cluster.steps.validate import ValidateConfig
from engine.core.configs import assign, decode, parse_assignment, refusal, require
from engine.core.errors import ConfigError
from engine.core.toml import TOMLDecodeError, loads
from engine.storage.uris import is_remote, local_text, require_local

__all__ = [
    "AnalyzeConfig",
    "DataConfig",
    "EvaluateConfig",
    "ExportConfig",
    "IngestConfig",
    "Pipeline",
    "PushConfig",
    "SourceConfig",
    "StatsConfig",
    "TrainConfig",
    "TransformConfig",
    "ValidateConfig",
    "load_pipeline",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What runs: the steps whose configuration is given, in the order of the work.

    Attributes:
        name: shown, and the directory of the results where `work_dir` is not given.
        module: the user's Python file.
        label: the feature that is learned, or a list of several; they stay out of the model's inputs. [evaluate] measures the first.
        work_dir: where the results go.
        track: where `fullpass run` records the finished run, each "mlflow:URI" or "mlmd:FILE"; in Python `cluster.tracking.track` does.
    """

    name: str
    module: str
    label: str | Sequence[str]
    work_dir: str = ""
    track: Sequence[str] = ()
    ingest: IngestConfig | None = None
    data: DataConfig | None = None
    stats: StatsConfig | None = None
    validate: ValidateConfig | None = None
    analyze: AnalyzeConfig | None = None
    transform: TransformConfig | None = None
    train: TrainConfig | None = None
    export: ExportConfig | None = None
    evaluate: EvaluateConfig | None = None
    push: PushConfig | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Returns the names of the labels."""
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)

    def __post_init__(self) -> None:
        require(bool(self.labels), "pipeline.label", self.label, "a name, or a list of at least one")
        if not self.work_dir:
            object.__setattr__(self, "work_dir", str(Path("runs") / self.name))
        # Its steps are found again by renames, links and a lock, of which an object store has none.
        object.__setattr__(self, "work_dir", str(require_local("pipeline.work_dir", self.work_dir)))
        if (self.ingest is None) == (self.data is None):
            raise ConfigError("a pipeline has either [ingest] or [data] (files that are split already), not both")
        if self.export is not None and self.train is not None:
            named, default = self.export.build_model, ExportConfig.build_model
            require(
                named in (default, self.train.build_model),
                "export.build_model",
                named,
                "to be left out: it is [train]'s",
            )
        for step, needs in _NEEDS.items():
            if getattr(self, step) is not None and getattr(self, needs) is None:
                raise ConfigError(f"[{step}] needs the results of [{needs}]; add a line [{needs}]")


_NEEDS = {"validate": "stats", "transform": "analyze", "export": "train", "evaluate": "export", "push": "evaluate"}
# Settings that are paths, beside those of sources and [push] to; an empty one names nothing.
_PATHS = {
    "stats": ("schema",),
    "validate": ("schema", "serving", "against"),
    "analyze": ("spans", "stats"),
    "evaluate": ("baseline", "eval_config"),
}
_PIPELINE_KEYS = ("name", "module", "label", "work_dir", "track")


def load_pipeline(path: str | Path, overrides: Sequence[str] = (), work_dir: str | None = None) -> Pipeline:
    """Returns the pipeline of a TOML file. Relative paths in the file are relative to the file.

    Args:
        path: the file.
        overrides: settings in place of the file's, each "TABLE.KEY=VALUE", e.g. "train.epochs=2".
        work_dir: in place of the file's; relative to the current directory.

    Raises:
        ConfigError: the file is missing, is not TOML, or has a mistake; the message names the key.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"no pipeline file {path}; `fullpass run --help` shows one")
    try:
        tables = loads(file.read_text(encoding="utf-8"))
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    try:
        for text in overrides:
            assign(tables, *parse_assignment(text))
        head = tables.pop("pipeline", {})
        if not isinstance(head, Mapping):
            raise refusal("pipeline", head, "a table [pipeline]")
        for key in tables:
            if key in _PIPELINE_KEYS:
                raise ConfigError(f"{key}: belongs under [pipeline]")
        for key in head:
            if key not in _PIPELINE_KEYS:
                raise ConfigError(f"pipeline.{key}: unknown key; the keys allowed here are {', '.join(_PIPELINE_KEYS)}")
        for key in _PIPELINE_KEYS[:3]:
            if key not in head:
                raise ConfigError(f"pipeline.{key}: missing; expected a text")
        for key in ("directory", "label"):
            if key in tables.get("train", {}):
                raise ConfigError(
                    f"train.{key}: the pipeline sets it" + (" from pipeline.label" if key == "label" else "")
                )
        pipeline = decode(Pipeline, {**head, **tables})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return _rooted(pipeline, file.resolve().parent, work_dir)


def _rooted_target(target: str, root: Callable[[str], str]) -> str:
    kind, _, place = target.partition(":")
    return f"{kind}:{root(place)}" if kind == "mlmd" and place else target


def _rooted(pipeline: Pipeline, folder: Path, work_dir: str | None) -> Pipeline:
    def root(path: str) -> str:
        elsewhere = is_remote(path) or path.startswith("package:")
        return path if elsewhere else str((folder / local_text(path)).resolve())

    changes: dict[str, Any] = {
        "module": root(pipeline.module),
        "work_dir": str(require_local("--work-dir", work_dir).resolve()) if work_dir else root(pipeline.work_dir),
        "track": tuple(_rooted_target(target, root) for target in pipeline.track),
    }
    if pipeline.ingest:
        sources = {name: rooted(each, root) for name, each in pipeline.ingest.sources.items()}
        parts = {name: rooted(each, root) for name, each in pipeline.ingest.parts.items()}
        spec = pipeline.ingest.feature_spec
        changes["ingest"] = dataclasses.replace(
            pipeline.ingest, sources=sources, parts=parts, feature_spec=root(spec) if spec else None
        )
    if pipeline.data:
        spec = pipeline.data.feature_spec
        changes["data"] = dataclasses.replace(
            pipeline.data,
            train=rooted(pipeline.data.train, root),
            eval=rooted(pipeline.data.eval, root),
            feature_spec=root(spec) if spec else None,
        )
    for table, names in _PATHS.items():
        config = getattr(pipeline, table)
        if config is not None:
            paths: dict[str, Any] = {name: root(path) for name in names if (path := getattr(config, name))}
            changes[table] = dataclasses.replace(config, **paths)
    if pipeline.push:
        changes["push"] = dataclasses.replace(pipeline.push, to=root(pipeline.push.to))
    return dataclasses.replace(pipeline, **changes)
