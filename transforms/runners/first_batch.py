"""The first batch of a pass, which goes alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pyarrow as pa

from transforms.passes.protocols import Measuring

__all__ = ["FirstBatch"]


class FirstBatch:
    """Lets the first split's first batch go alone: the memory that its records take in the graph is measured by that of the process.

    Args:
        opened: the pass. One that says when it has measured lets the others begin then, else they do after the whole batch.
    """

    def __init__(self, opened: object) -> None:
        self._over = threading.Event()
        if isinstance(opened, Measuring):
            opened.after_measuring(self._over.set)

    def __enter__(self) -> FirstBatch:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()  # a signal may have cancelled the first while another waits, whose pool waits for it

    @contextlib.contextmanager
    def before_others(self, index: int) -> Iterator[None]:
        """Waits, unless this is the first, until its first batch is done or it has failed."""
        if index:
            self._over.wait()
        try:
            yield
        finally:
            self._over.set()

    def count(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields the batches; the second is asked for when the first is done."""
        for batch in batches:
            yield batch
            self._over.set()
