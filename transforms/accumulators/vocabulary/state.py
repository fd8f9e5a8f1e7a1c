"""The state of a vocabulary while it is counted: batches wait, are merged now and then, go to disk above a bound."""

from __future__ import annotations

import mmap
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

from engine.core.environment import VOCABULARY_MEMORY_BYTES
from transforms.accumulators.vocabulary.count_codec import decode_counts, encode_counts
from transforms.accumulators.vocabulary.counts import (
    TokenCounts,
    count_tokens,
    empty_counts,
    merge_counts,
    partition_counts,
    taken,
)
from transforms.accumulators.vocabulary.token_counter import TokenCounter, is_countable

__all__ = ["CountingState", "memory_limit_bytes"]

_MOST_PENDING_TOKENS = 1 << 18  # that wait to be merged while little is merged
_BYTES_A_PENDING_TOKEN = 1 << 10
_MAPPED_BYTES = 1 << 20  # a smaller one is not worth a file


def memory_limit_bytes() -> int:
    """Returns the bytes that all vocabularies of this process may hold before they go to disk."""
    return VOCABULARY_MEMORY_BYTES.read()


def _most_pending_tokens() -> int:
    """Returns how many tokens may wait: fewer where memory is bounded below its default, or what waits would be all it holds."""
    return min(_MOST_PENDING_TOKENS, memory_limit_bytes() // _BYTES_A_PENDING_TOKEN)


def out_of_memory_blob(blob: bytes) -> bytes | memoryview:
    """Returns the bytes, large ones as the map of a temporary file that nothing names: the system may page them out."""
    if len(blob) < _MAPPED_BYTES:
        return blob
    with tempfile.TemporaryFile(prefix="fullpass-vocabulary-") as file:
        file.write(blob)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class _Ledger:
    """Bytes held by all living states of this process. A state shrinks itself, never another's: runners use threads.

    Each state notes here by how much it grew: thousands of columns have thousands of states a thread, too many to add up at each batch.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a state may end while its own thread is in here
        self._states = self._total_bytes = 0

    def over(self, state: CountingState, held_bytes: int) -> bool:
        """Notes what a state holds and returns whether it should shrink: the sum is too much and it holds its share."""
        with self._lock:
            if state.noted_bytes is None:
                self._states += 1
            self._total_bytes += held_bytes - (state.noted_bytes or 0)
            state.noted_bytes = held_bytes
            return self._total_bytes > memory_limit_bytes() and held_bytes * self._states >= self._total_bytes

    def forget(self, state: CountingState) -> None:
        """Takes out a state that ends."""
        with self._lock:
            if state.noted_bytes is not None:
                self._states -= 1
                self._total_bytes -= state.noted_bytes
                state.noted_bytes = None


_LEDGER = _Ledger()


class CountingState:
    """Counts of one analyzer, growing batch by batch.

    Args:
        num_parts: number of hash partitions of `parts`; with 1 all is one part.
        part: number of that one part.
    """

    def __init__(self, num_parts: int, part: int = 0) -> None:
        self.noted_bytes: int | None = None  # the ledger's
        self.num_parts = num_parts
        self.part = part
        self._counter: TokenCounter | None = None
        self._clean: Callable[[TokenCounts], TokenCounts] | None = None
        self._pending: list[TokenCounts] = []
        self._pending_tokens = 0
        self._merged_tokens = 0
        self._held_bytes = 0
        self._spill: Any = None
        self._blocks: list[list[tuple[int, int]]] = [[] for _ in range(num_parts)]  # (offset, bytes) in the spill file
        self.spilled_bytes = 0

    def __del__(self) -> None:
        _LEDGER.forget(self)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._held_bytes + (self._counter.nbytes if self._counter is not None else 0)

    def count(self, tokens: Any, clean: Callable[[TokenCounts], TokenCounts] | None = None) -> None:
        """Adds a batch of tokens, repeated or not.

        Args:
            tokens: as `as_tokens` gives them.
            clean: what distinct tokens go through before they are merged or written; the same for all batches.
        """
        if not len(tokens) or not is_countable(tokens):
            counts = count_tokens(tokens)
            self.add(clean(counts) if clean is not None else counts)
            return
        if self._counter is None:
            self._counter, self._clean = TokenCounter(), clean
        self._counter.add(tokens)
        self._shrink()

    def add(self, counts: TokenCounts) -> None:
        """Adds the distinct tokens of a batch."""
        if not len(counts):
            if not self._pending:
                self._pending.append(counts)  # keeps the type of the tokens
            return
        self._pending.append(counts)
        self._pending_tokens += len(counts)
        self._held_bytes += counts.nbytes
        # Merging when as much waits as there is costs each token a bounded number of passes.
        if self._pending_tokens > 2 * self._merged_tokens and self._pending_tokens > _most_pending_tokens():
            self._merge()
        self._shrink()

    def _shrink(self) -> None:
        if _LEDGER.over(self, self.nbytes):
            before = self.nbytes
            self._merge()
            if self._held_bytes > before // 2:
                self._spill_all()
            _LEDGER.over(self, self._held_bytes)

    def _merge(self) -> None:
        if self._counter is not None:
            counted, self._counter = taken(self._counter), None
            self._pending.append(self._clean(counted) if self._clean is not None else counted)
        merged = merge_counts(self._pending)
        self._pending = [merged]
        self._pending_tokens = 0
        self._merged_tokens = len(merged)
        self._held_bytes = merged.nbytes

    def _spill_all(self) -> None:
        if self._spill is None:
            self._spill = tempfile.TemporaryFile(prefix="fullpass-vocabulary-")  # noqa: SIM115, closed with the state
        merged = self._pending[0]
        for number, part in enumerate(partition_counts(merged, self.num_parts)):
            if len(part):
                blob = encode_counts(part)
                self._blocks[number].append((self.spilled_bytes, len(blob)))
                self._spill.write(blob)
                self.spilled_bytes += len(blob)
        self._pending = [empty_counts(merged.tokens.type, len(merged.measures))]
        self._pending_tokens = self._merged_tokens = self._held_bytes = 0

    def parts(self) -> Iterator[tuple[int, TokenCounts]]:
        """Yields (part number, counts) of each part that is not empty, from disk one at a time."""
        if not self._pending and self._counter is None:
            return
        self._merge()
        merged = self._pending[0]
        if self.num_parts == 1:
            partitions = [merged]
        else:
            partitions = partition_counts(merged, self.num_parts)
        for number, part in enumerate(partitions):
            blocks = [part]
            for offset, size in self._blocks[number]:
                self._spill.seek(offset)
                blocks.append(decode_counts(self._spill.read(size)))
            whole = merge_counts(blocks)
            if len(whole):
                yield number + self.part, whole

    def to_counts(self) -> TokenCounts | None:
        """Returns all counts as one, or None where nothing was added."""
        if not self._pending and self._counter is None:
            return None
        if self._spill is None:
            self._merge()
            return self._pending[0]
        return merge_counts([part for _, part in self.parts()])
