"""A table of embeddings whose rows are divided over the workers, or over parameter servers.

Worker i of n holds one range of rows and their optimizer state. A look-up sends ids, not tables: the ids of the global batch
go to all workers, each answers with the rows that it holds, and the answers are summed (all but one are zero, so the sum is
exact). Gradients go the same way back: each worker takes those of its own rows, adds up what belongs to one row, and changes
these rows alone. With parameter servers each server holds ranges of rows, and any worker asks for the rows of its batch.
"""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import tensorflow as tf

from engine.core.configs import require
from engine.core.errors import ConfigError
from trainers.tables.place import current_place
from trainers.tables.reads import note_read
from trainers.tables.row_optimizers import RowOptimizer, row_optimizer
from trainers.tables.rows import (
    BLOCK_ROWS,
    FirstValues,
    RowPart,
    gathered_rows,
    make_rows,
    make_rows_on_servers,
    parts_of,
)

__all__ = ["ShardedTable", "tables_of"]


class ShardedTable(tf.__internal__.tracking.AutoTrackable):  # type: ignore[misc]
    """Rows of float32 [width] by their number. No tf.Module: neither Keras nor the loop may take it for a replicated weight.

    Args:
        rows: of the whole table; ids are 0 to rows - 1.
        width: numbers a row.
        name: in checkpoints; no other table of the model may have it.
        optimizer: "sgd", "adagrad" or "adam" (whose moments of rows that a batch lacks stay as they are).
        learning_rate: None takes that of the model's optimizer, with its schedule.
        initial_range: rows begin uniform between -initial_range and initial_range.
    """

    def __init__(
        self,
        rows: int,
        width: int,
        *,
        name: str,
        optimizer: str = "adagrad",
        learning_rate: float | None = None,
        initial_range: float = 0.05,
    ) -> None:
        require(rows >= 1, "rows", rows, "at least 1")
        require(width >= 1, "width", width, "at least 1")
        require(bool(name), "name", name, "a name that no other table of the model has")
        require(learning_rate is None or learning_rate > 0, "learning_rate", learning_rate, "more than 0, or None")
        self.rows, self.width, self.table_name, self.learning_rate = rows, width, name, learning_rate
        self._rule: RowOptimizer = row_optimizer(optimizer)
        self._place = place = current_place()
        self._strategy = tf.distribute.get_strategy() if place.on_servers else None
        if rows < place.count:
            raise ConfigError(
                f"rows={rows}: table {name!r} is divided over {place.count} workers; give at least as many rows"
            )
        self.first, self.size = (0, rows) if place.on_servers else self.ranges[place.index]
        self.values = self._made("rows", self._drawn(initial_range, place.seed))
        self._slots = _Untracked()

    def _made(self, name: str, values: FirstValues) -> Any:
        name = f"{self.table_name}_{name}"
        if self._strategy is not None:
            return make_rows_on_servers(self._strategy, self.rows, self.width, name, values)
        return make_rows(self.first, self.size, self.width, name, values)

    def _drawn(self, initial_range: float, seed: int) -> FirstValues:
        key = zlib.crc32(self.table_name.encode())

        def values(low: int, high: int) -> Any:
            block = low // BLOCK_ROWS
            shape, begin = [BLOCK_ROWS, self.width], block * BLOCK_ROWS
            drawn = tf.random.stateless_uniform(shape, [seed ^ key, block], -initial_range, initial_range)
            return drawn[low - begin : high - begin]

        return values

    def _filled(self, value: float) -> FirstValues:
        return lambda low, high: tf.fill([high - low, self.width], value)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Returns (first row, rows) of each worker, or of each part on the parameter servers."""
        if self._place.on_servers:
            return [(part.first, part.size) for part in parts_of(self.values, 0)]
        cuts = [self.rows * i // self._place.count for i in range(self._place.count + 1)]
        return [(begin, end - begin) for begin, end in itertools.pairwise(cuts)]

    def prepare_training(self) -> None:
        """Makes the optimizer's state of these rows; a model that only answers needs none."""
        if not self._slots.held:
            self._slots.held = {slot: self._made(slot, self._filled(value)) for slot, value in self._rule.slots.items()}

    @property
    def saved(self) -> list[tuple[str, list[RowPart]]]:
        """Returns (name, parts) of all that a checkpoint holds of the rows that this process reaches."""
        named = [("rows", self.values), *self._slots.held.items()]
        return [(f"{self.table_name}/{name}", parts_of(variable, self.first)) for name, variable in named]

    def look_up(self, ids: Any) -> Any:
        """Returns float32 [..., width] for whole numbers [...]. In training it runs in replica context, on all workers together.

        Raises:
            ConfigError: this process holds part of the table and is asked outside of the training.
            tf.errors.InvalidArgumentError: an id is not one of the table's.
        """
        ids = tf.convert_to_tensor(ids)
        flat = tf.reshape(tf.cast(ids, tf.int64), [-1])
        message = f"table {self.table_name!r}: an id is not between 0 and {self.rows - 1}"
        fits = tf.debugging.Assert(tf.reduce_all((flat >= 0) & (flat < self.rows)), [message, flat], summarize=8)
        with tf.control_dependencies([fits] if fits is not None else []):
            flat = tf.identity(flat)
        if self._place.count == 1:
            asked, rows = flat, gathered_rows(self.values, flat)
        elif tf.distribute.in_cross_replica_context():  # Keras makes its layers: only shapes count
            return tf.zeros(tf.concat([tf.shape(ids), [self.width]], 0))
        else:
            asked, rows = self._exchanged(flat)
        rows = note_read(self, asked, rows)
        result = tf.reshape(rows, tf.concat([tf.shape(ids), [self.width]], 0))
        result.set_shape([*ids.shape, self.width] if ids.shape.rank is not None else None)
        return result

    def _exchanged(self, flat: Any) -> tuple[Any, Any]:
        """Returns (ids of all workers, rows of the ids of this one)."""
        context = self._replica()
        counts = context.all_gather(tf.shape(flat, out_type=tf.int64), axis=0)
        everyone = context.all_gather(flat, axis=0)
        here, mine = RowPart(first=self.first, variable=self.values).here(everyone)
        answers = tf.where(mine[:, None], tf.gather(self.values, tf.where(mine, here, 0)), 0.0)
        rows = context.all_reduce(tf.distribute.ReduceOp.SUM, answers)
        start = tf.reduce_sum(counts[: self._place.index])
        return everyone, rows[start : start + counts[self._place.index]]

    def _replica(self) -> Any:
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync != self._place.count:
            raise ConfigError(
                f"table {self.table_name!r}: this worker holds {self.size:,} of {self.rows:,} rows; outside of the training "
                "load the checkpoint (fullpass export, evaluate), which has them all"
            )
        return context

    def gathered(self, asked: Any, gradient: Any) -> tuple[Any, Any]:
        """Returns (numbers of rows in this part, their gradients from all workers), a row as often as it was asked for.

        Args:
            asked: ids of all workers, from the look-up.
            gradient: float32 [ids of this worker, width].
        """
        if self._place.count == 1:
            return asked, gradient
        gradient = self._replica().all_gather(gradient, axis=0)
        here, mine = RowPart(first=self.first, variable=self.values).here(asked)
        return tf.boolean_mask(here, mine), tf.boolean_mask(gradient, mine)

    @staticmethod
    def summed(numbers: list[Any], gradients: list[Any]) -> tuple[Any, Any]:
        """Returns (numbers of rows, each once; the sum of the gradients of each) of several `gathered`."""
        once, of_which = tf.unique(tf.concat(numbers, 0))
        return once, tf.math.unsorted_segment_sum(tf.concat(gradients, 0), of_which, tf.shape(once)[0])

    def apply(self, numbers: Any, gradient: Any, rate: Any, step: Any) -> None:
        """Changes these rows and nothing else.

        Args:
            numbers, gradient: of `summed`.
            rate: learning rate of the model's optimizer.
            step: steps that were made before.
        """
        rate = tf.constant(self.learning_rate) if self.learning_rate is not None else tf.cast(rate, tf.float32)
        parts = parts_of(self.values, 0)
        slots = [parts_of(variable, 0) for variable in self._slots.held.values()]
        for i, part in enumerate(parts):
            state = {name: pieces[i].variable for name, pieces in zip(self._slots.held, slots)}
            mine, change = numbers, gradient
            if len(parts) > 1:
                here, held = part.here(numbers)
                mine, change = tf.boolean_mask(here, held), tf.boolean_mask(gradient, held)
            self._rule.apply(part.variable, state, mine, change, rate, step)


class _Untracked:
    """Holds variables where TensorFlow does not look for what a served model needs."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}


def tables_of(model: Any) -> list[ShardedTable]:
    """Returns the tables of a model of any kind, at any depth, by name.

    Raises:
        ConfigError: two have the same name.
    """
    found, left = {id(model): model}, [model]
    while left:
        for name, part in _children(left.pop()).items():
            if id(part) not in found and name != "optimizer" and not isinstance(part, tf.Variable):
                found[id(part)] = part
                left.append(part)
    tables = sorted((p for p in found.values() if isinstance(p, ShardedTable)), key=lambda table: table.table_name)
    names = [table.table_name for table in tables]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"two tables have the name {twice[0]!r}: give each of them a name of its own")
    return tables


def _children(part: Any) -> dict[str, Any]:
    try:
        return dict(tf.train.TrackableView.children(part))
    except (ValueError, AttributeError):  # a list that TensorFlow would not save, or something else than its objects
        return {}
