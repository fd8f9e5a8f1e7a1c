"""The DoFns of an analysis inside a user's own pipeline: any source of record batches, no splits.

Each bundle accumulates into one state and gives its encoded parts; parts are merged by key. The order of bundles is the
runner's, so it is by content that parts are ordered before they are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from transforms.passes.phases import PhasePlan
from transforms.runners.beam.stages import key_of
from transforms.tracing.user_errors import graph_errors

__all__ = ["AccumulateBundle", "MergeKey", "evaluate_phase", "phase_model"]

_FLUSH_ROWS = 1 << 22  # a bundle of a stream may have no end


class AccumulateBundle(beam.DoFn):
    """Accumulates the record batches of a bundle.

    Args:
        plan: the phase.
        lines: "FILE:LINE" of the user's code by operation name.
    """

    def __init__(self, plan: PhasePlan, lines: Mapping[str, str]) -> None:
        self._plan, self._lines = plan, lines
        self._opened: Any = None

    def start_bundle(self) -> None:
        """Begins with empty states."""
        self._state: Any = None

    def process(
        self, batch: pa.RecordBatch, values: Mapping[str, Any], model: Any = None
    ) -> Iterator[tuple[int, list[tuple[int, int, bytes]]]]:
        """Adds a batch.

        Args:
            batch: of any size.
            values: results of earlier phases.
            model: `SavedModelFunction` of the phase, or None.
        """
        with graph_errors(self._lines, "preprocessing_fn"):
            if self._opened is None:
                self._opened = self._plan.bind(dict(values), model).open()
            if self._state is None:
                self._state = self._opened.create()
            self._opened.update(self._state, batch)
        if self._state.rows >= _FLUSH_ROWS:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Gives what the bundle has accumulated."""
        for element in self._flush():
            yield WindowedValue(element, MIN_TIMESTAMP, (GlobalWindow(),))

    def _flush(self) -> Iterator[tuple[int, list[tuple[int, int, bytes]]]]:
        if self._state is None:
            return
        state, self._state = self._state, None
        grouped: dict[int, list[tuple[int, int, bytes]]] = {}
        for (analyzer, part), blob in self._opened.encode(state).items():
            grouped.setdefault(key_of(analyzer, part), []).append((analyzer, part, bytes(blob)))
        yield from grouped.items()

    def teardown(self) -> None:
        """Frees the graph."""
        if self._opened is not None:
            self._opened.close()


class MergeKey(beam.DoFn):
    """Merges the parts of a key.

    Args:
        plan: the phase.
    """

    def __init__(self, plan: PhasePlan) -> None:
        self._merge = plan.merge

    def process(
        self, element: tuple[int, Iterable[list[tuple[int, int, bytes]]]]
    ) -> Iterator[list[tuple[int, int, bytes]]]:
        """Yields [(analyzer, part, merged blob)]."""
        blobs: dict[tuple[int, int], list[bytes]] = {}
        for each in element[1]:
            for analyzer, part, blob in each:
                blobs.setdefault((analyzer, part), []).append(blob)
        yield [(at[0], at[1], bytes(self._merge(at, sorted(found)))) for at, found in blobs.items()]


def evaluate_phase(
    _: Any, merged: Iterable[list[tuple[int, int, bytes]]], known: Mapping[str, Any], plan: PhasePlan, assets_dir: str
) -> dict[str, Any]:
    """Returns the results of all phases so far by tensor name."""
    import tensorflow as tf

    parts = {(analyzer, part): blob for each in merged for analyzer, part, blob in each}
    tf.io.gfile.makedirs(assets_dir)
    return {**known, **plan.evaluation.run(plan.finish(parts), assets_dir)}


def phase_model(
    _: Any,
    known: Mapping[str, Any],
    plan: PhasePlan,
    preprocessing_fn: Callable[..., Any],
    specs: Any,
    temp_dir: str,
    bindings: Any,
) -> Any:
    """Writes the SavedModel of a phase whose graph needs one, and returns how to run it."""
    from transforms.passes.phase_saved_model import replacements, write_phase_model

    return write_phase_model(
        preprocessing_fn, specs, temp_dir, replacements(known, bindings), plan.fetches, plan.number
    )
