"""Analysis of data that grows by spans (days, say): only spans that are new, changed or newly asked about are read.

The accumulators' states of each span are kept, not yet sealed by thresholds or top_k. They are merged as states of splits
are, so the result is the one of a single pass over all spans. Analyzers of later phases are kept under a key that holds
the results they depend on: those are read again exactly when these change.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.core.progress import Progress
from engine.storage.paths import change_mark
from transforms.accumulators.base import Accumulator, Part
from transforms.cache.cache_file import SpanCache, read_span, write_span
from transforms.cache.state_keys import analyzer_key
from transforms.passes.analysis import AnalysisPass
from transforms.runners.base import PassResult, Runner, SplitReader

__all__ = ["CachingRunner", "Unsealed"]


class Unsealed(Accumulator):
    """An accumulator whose merged states stay mergeable."""

    name = "unsealed"

    def __init__(self, inner: Accumulator) -> None:
        self._inner = inner
        self.wants_raw, self.num_parts = inner.wants_raw, inner.num_parts
        self.holds_lock, self.order_free = inner.holds_lock, inner.order_free

    @classmethod
    def from_operation(cls, operation: Any, source: Any, downstream: tuple[Any, ...] = ()) -> Accumulator | None:
        return None

    def create(self) -> Any:
        return self._inner.create()

    def update(self, state: Any, arrays: Sequence[Any]) -> Any:
        return self._inner.update(state, arrays)

    def merge(self, states: Sequence[Any]) -> Any:
        return self._inner.merge(states)

    def encode(self, state: Any) -> list[Part]:
        return self._inner.encode(state)

    def decode(self, part: Part) -> Any:
        return self._inner.decode(part)

    def finish(self, states: Sequence[Any]) -> Any:
        raise RuntimeError("states of a span are merged with those of others first")


class CachingRunner:
    """A runner that reads only what its cache does not hold.

    Args:
        inner: runs the passes over spans that must be read.
        directory: of the cache.
        spans: files by name of the span.
    """

    def __init__(self, inner: Runner, directory: Path, spans: Mapping[str, Sequence[str]]) -> None:
        self.name = f"{inner.name}, cached by span"
        self.inner, self._directory = inner, directory
        self._spans = {name: list(paths) for name, paths in spans.items()}
        self.records_read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    def accumulate(
        self, plan: AnalysisPass, reader: SplitReader, splits: Sequence[Any], progress: Progress
    ) -> PassResult:
        """Returns the merged parts of a pass over all splits, those of known spans out of the cache."""
        known_keys = [analyzer_key(plan, each, reader.schema) for each in plan.analyzers]
        # A key that nobody can have again, where what a state depends on is unknown: such a state is merged, and not kept.
        keys = [key or secrets.token_hex(20) for key in known_keys]
        lasting = frozenset(key for key in known_keys if key is not None)
        rows: dict[int, int] = {}
        blobs: dict[tuple[int, int], list[bytes | memoryview]] = {}
        at_path: dict[str, list[int]] = {}
        for index, split in enumerate(splits):
            at_path.setdefault(split.path, []).append(index)
        for span, paths in self._spans.items():
            indices = sorted(index for path in {*paths} for index in at_path.get(path, ()))
            mark = files_mark(paths)  # before they are read: files that change meanwhile have another one afterwards
            known = self._known(span, mark, keys)
            if known is None:
                result = self._read(plan, reader, [splits[index] for index in indices], progress)
                rows.update((indices[at], count) for at, count in result.split_rows.items())
                records = sum(result.split_rows.values())
                self.records_read += records
                known = self._store(span, mark, records, keys, lasting, result)
            else:
                rows.update(_rows_of_splits(splits, indices, known.records))
                progress.advance(known.records)
            for index, key in enumerate(keys):
                for number, blob in known.parts[key].items():
                    blobs.setdefault((index, number), []).append(blob)
        parts: dict[tuple[int, int], Any] = {at: plan.merge(at, found) for at, found in blobs.items()}
        return PassResult(parts=parts, split_rows=rows)

    def _path(self, span: str) -> Path:
        return self._directory / f"{span}.fpac"

    def _known(self, span: str, mark: str, keys: Sequence[str]) -> SpanCache | None:
        cached = read_span(self._path(span))
        if cached is None or cached.mark != mark:
            return None
        return cached if all(key in cached.parts for key in keys) else None

    def _store(
        self, span: str, mark: str, records: int, keys: Sequence[str], lasting: frozenset[str], result: PassResult
    ) -> SpanCache:
        parts: dict[str, dict[int, Any]] = {key: {} for key in keys}
        for (index, number), blob in result.parts.items():
            parts[keys[index]][number] = blob
        new = {key: blobs for key, blobs in parts.items() if key in lasting}
        if new:
            old = read_span(self._path(span))
            kept = dict(old.parts) if old is not None and old.mark == mark else {}
            # What later phases of the same analysis asked for stays beside what the first asked for.
            write_span(self._path(span), SpanCache(span=span, mark=mark, records=records, parts={**kept, **new}))
        return SpanCache(span=span, mark=mark, records=records, parts=parts)

    def _read(self, plan: AnalysisPass, reader: SplitReader, splits: Sequence[Any], progress: Progress) -> PassResult:
        analyzers = tuple(dataclasses.replace(each, accumulator=Unsealed(each.accumulator)) for each in plan.analyzers)
        return self.inner.accumulate(dataclasses.replace(plan, analyzers=analyzers), reader, splits, progress)


def files_mark(paths: Sequence[str]) -> str:
    """Returns a hash of the files' names, sizes and times of change: what must be the same for a span to be the same."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        digest.update(repr((os.path.basename(path), *change_mark(path))).encode())
    return digest.hexdigest()


def _rows_of_splits(splits: Sequence[Any], indices: Sequence[int], records: int) -> dict[int, int]:
    """Returns records by index of the split; what the splits do not know themselves is put down to the first of them."""
    rows = {index: getattr(splits[index], "records", None) for index in indices}
    unknown = [index for index, count in rows.items() if count is None]
    left = records - sum(count for count in rows.values() if count is not None)
    return {index: left if [index] == unknown[:1] else 0 if count is None else count for index, count in rows.items()}
