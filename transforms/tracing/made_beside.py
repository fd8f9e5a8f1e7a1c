"""What a traced function makes beside its graph: lookup tables, variables and other resources that must be saved."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow_transform import (
    annotators,
    tf_utils,
)

from transforms.tft.impl import ResourceTracker, asset_replacements, resource_tracker_scope
from transforms.tft.patches import replaced
from transforms.tft.tables import file_of, is_file_table, missing_file, table_with_buckets

__all__ = ["MadeBeside", "TableSize"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableSize:
    """The size of a table on a vocabulary that is not known yet.

    Attributes:
        tensor: name of the placeholder.
        asset: name of the sink tensor of the vocabulary's path.
        extra: entries beyond the vocabulary's (out-of-vocabulary buckets).
    """

    tensor: str
    asset: str
    extra: int


class _OwnResources(ResourceTracker):
    """Notes the resources of this thread: TensorFlow tells every tracker of the process of each resource that any thread makes."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def add_resource(self, resource: Any) -> None:
        """Notes a resource of this thread; TensorFlow calls it."""
        if threading.get_ident() == self._thread:
            super().add_resource(resource)


class MadeBeside:
    """Notes what a function makes beside its graph while it is traced."""

    def __init__(self) -> None:
        self.sizes: list[TableSize] = []
        self._objects = annotators.ObjectTracker()
        self._resources = _OwnResources()
        self._variables: list[Any] = []
        self._own_lookups = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Notes while in the context."""
        calls = {
            "construct_and_lookup_table": lambda original: functools.partial(self._construct, original),
            "lookup_table": lambda original: functools.partial(self._lookup, original),
        }
        with (
            replaced(tf_utils, calls),
            annotators.object_tracker_scope(self._objects),
            resource_tracker_scope(self._resources),
            tf.variable_creator_scope(self._create_variable),
        ):
            yield

    def resources(self, graph: Any) -> tuple[Any, ...] | None:
        """Returns the tables on vocabularies; None where there is anything else."""
        found = tuple(self._resources.resources)
        if self._own_lookups or self._variables or graph.variables or self._objects.trackable_objects:
            return None
        eager = {path.ref() for _, path in asset_replacements(graph)}
        return found if all(_is_vocabulary_table(table, eager) for table in found) else None

    def missing_files(self) -> Iterator[str]:
        """Yields the files of tables that are not there: TensorFlow would read them when the saved graph is loaded."""
        yield from filter(None, map(missing_file, self._resources.resources))

    def _create_variable(self, next_creator: Any, **kwargs: Any) -> Any:
        variable = next_creator(**kwargs)
        self._variables.append(variable)
        return variable

    def _lookup(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        self._own_lookups += 1
        return original(*args, **kwargs)

    def _construct(self, original: Any, construct: Any, asset_filepath: Any, x: Any) -> Any:
        result, size = original(construct, asset_filepath, x)
        if not hasattr(size, "numpy") or not isinstance(asset_filepath, tf.Tensor) or hasattr(asset_filepath, "numpy"):
            return result, size
        # While tracing a file of one entry stands for the vocabulary.
        placeholder = tf.raw_ops.PlaceholderWithDefault(input=size, shape=[], name="table_size")
        extra = int(size.numpy()) - 1
        self.sizes.append(TableSize(tensor=placeholder.name, asset=asset_filepath.name, extra=extra))
        return result, placeholder


def _is_vocabulary_table(table: Any, eager: set[Any]) -> bool:
    inner = table_with_buckets(table)
    if inner is not None:
        return isinstance(inner, tf.lookup.StaticHashTable)
    if not is_file_table(table):
        return False
    path = file_of(table)
    return hasattr(path, "numpy") and path.ref() in eager
