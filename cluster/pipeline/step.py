"""The step interface, the same for every step: what it reads, what code it runs, and a function that does the work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.pipeline.config import Pipeline
from cluster.pipeline.records import Finished
from engine.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from engine import Dataset

__all__ = ["Counts", "Step", "StepContext", "StepResult"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """Rows in = rows out + rows set aside; a step whose counts do not add up fails.

    Attributes:
        rows_in: rows read.
        rows_out: rows written, trained on or evaluated.
        set_aside: reason → rows.
    """

    rows_in: int
    rows_out: int
    set_aside: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def check(self, step: str) -> None:
        """Raises DataError where rows were lost or repeated."""
        if self.rows_in != self.rows_out + sum(self.set_aside.values()):
            raise DataError(f"{step} lost or repeated rows: {self}; its results are not used")

    def __str__(self) -> str:
        text = f"{self.rows_in:,} rows in = {self.rows_out:,} out"
        total, reasons = sum(self.set_aside.values()), list(self.set_aside.items())
        if not total:
            return text
        aside = reasons[0][0] if len(reasons) == 1 else ", ".join(f"{count:,} {reason}" for reason, count in reasons)
        return f"{text} + {total:,} set aside ({aside})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step hands on.

    Attributes:
        counts: the rows.
        outputs: name → path, relative to the step's directory; later steps read them.
        notes: lines shown below the counts.
        info: JSON-able facts kept in the record, e.g. metrics.
        beside: local directories outside of the step's that it wrote; without their files the step runs again.
    """

    counts: Counts
    outputs: Mapping[str, str]
    notes: tuple[str, ...] = ()
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    beside: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepContext:
    """What a step is given.

    Attributes:
        pipeline: the whole configuration.
        out: the step's own directory; all it writes goes there.
        before: the finished steps that it reads.
    """

    pipeline: Pipeline
    out: Path
    before: Mapping[str, Finished]

    def output(self, step: str, name: str) -> str:
        """Returns the path of an output of an earlier step."""
        return self.before[step].output(name)

    def text_columns(self) -> tuple[str, ...]:
        """Returns what `ingest` noted of columns that are text though most of their values are numbers."""
        ingested = self.before.get("ingest")
        return tuple(ingested.record.info.get("text_columns", ())) if ingested else ()

    def raw(self, split: str) -> Dataset:
        """Returns the raw rows of "train" or "eval"."""
        from cluster.pipeline.input_files import open_dataset
        from engine import Dataset

        data = self.pipeline.data
        if data is None:
            return Dataset.open(self.output("ingest", split))
        return open_dataset(data.source(split))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One step: its place, what its results depend on, and its work.

    Attributes:
        name: the table of the pipeline file that configures it.
        after: the steps whose results it reads; those that are not in the pipeline are left out.
        run: does the work.
        functions: names of the user's functions that it runs, from the pipeline.
        inputs: name → fingerprint of the files outside the pipeline that it reads.
        packages: distributions whose version matters beside Fullpass's own.
        resumable: whether a killed run goes on in the same directory.
        cosmetic: settings that change what is shown and not what is computed.
    """

    name: str
    after: tuple[str, ...]
    run: Callable[[StepContext], StepResult]
    functions: Callable[[Pipeline], tuple[str, ...]] = lambda pipeline: ()
    inputs: Callable[[Pipeline], dict[str, str]] = lambda pipeline: {}
    packages: tuple[str, ...] = ()
    resumable: bool = False
    cosmetic: tuple[str, ...] = ()

    def config(self, pipeline: Pipeline) -> Any:
        """Returns the step's own configuration.

        Raises:
            ConfigError: the pipeline has none.
        """
        config = getattr(pipeline, self.name)
        if config is None:
            raise ConfigError(f"the pipeline has no step {self.name}")
        return config
