"""TFT's running of a transform graph inside a user's pipeline, with failures as one line that names the user's file and line.

TFT's own message holds TensorFlow's text of many lines and the whole batch. Its DoFn is made deep inside of `TransformDataset.expand`, so
it is found in what that returns.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from engine.core.errors import ConfigError
from transforms.output.row_check import rows_of
from transforms.tft.beam_impl import RunGraph
from transforms.tracing.user_errors import graph_errors
from transforms.tracing.user_function import place_of_output, read_lines

__all__ = ["NamingRunGraph", "name_errors"]


class NamingRunGraph(RunGraph):
    """Runs a transform graph on record batches; an error of TensorFlow's is a ConfigError of one line."""

    def process(self, batch: Any, saved_model_dir: str) -> Any:
        """Yields the outputs of a batch by feature.

        Args:
            batch: record batch.
            saved_model_dir: directory of the transform graph, which also says which line made which operation.

        Raises:
            ConfigError: the graph fails on the batch, or gives its outputs different numbers of rows.
        """
        try:
            (outputs,) = super().process(batch, saved_model_dir)
        except Exception as error:
            # TFT wraps what the graph raises, and nothing else, in a ValueError.
            wrapped = error.__cause__ if type(error) is ValueError and isinstance(error.__cause__, Exception) else None
            with graph_errors(read_lines(saved_model_dir), "preprocessing_fn", step="transform"):
                raise wrapped or error  # noqa: B904, the same error without its wrapping
        _check_rows(outputs, batch.num_rows, saved_model_dir)
        yield outputs


def name_errors(transformed: Any) -> None:
    """Makes the step of TFT's `TransformDataset` that runs the graph name the user's line where it fails.

    Args:
        transformed: the collection that TFT's `expand` returned.

    Raises:
        RuntimeError: the step is not among what makes the collection.
    """
    waiting, seen = [transformed.producer], set()
    while waiting:
        step = waiting.pop()
        if step is None or id(step) in seen:
            continue
        seen.add(id(step))
        function = step.transform.fn if isinstance(step.transform, beam.ParDo) else None
        if type(function) is RunGraph:
            function.__class__ = NamingRunGraph
            return
        waiting += [each.producer for each in step.main_inputs.values()]
    raise RuntimeError("tensorflow_transform.beam's TransformDataset has no step that runs the graph")


def _check_rows(outputs: Any, rows: int, model: str) -> None:
    """Refuses outputs of different numbers of rows; where all have another one than the records, TFT takes it, and so do its users."""
    # Those without a shape of TensorFlow's are passed through from the batch.
    found = {name: rows_of(value) for name, value in outputs.items() if hasattr(value, "get_shape")}
    if len(set(found.values())) < 2:
        return
    name, count = next((name, count) for name, count in found.items() if count != rows)
    raise ConfigError(
        f"transform: {place_of_output(model, name)} returned output {name!r} with {count} rows for {rows} records: each output "
        "needs one row a record; drop records before the analysis, or mark them with a weight of 0"
    )
