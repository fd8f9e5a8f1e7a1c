"""A data set: files of one format and one schema, opened once and read as often as wanted."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from engine.core.errors import ConfigError, DataError, listed
from engine.dataset.file_entry import FileEntry
from engine.dataset.file_set import FileSet, resolve
from engine.dataset.file_set import check_present as refuse_absent
from engine.dataset.manifest import Manifest, is_manifest
from engine.formats.damage import DamageLog
from engine.formats.options import ReadOptions
from engine.formats.partition_filters import Filter, keep_files
from engine.formats.partitions import mark_partitions, partition_fields, stored_columns, with_partitions
from engine.formats.read import read_split
from engine.formats.registry import detect, format_module
from engine.formats.split import Split
from engine.formats.stored_keys import refuse_half_stored
from engine.formats.times import note_times
from engine.schema.feature_spec import feature_spec_from_schema, schema_from_feature_spec
from engine.schema.schema_proto import as_feature_spec
from engine.schema.sequence import sequence_schema, sequence_spec_from_schema
from engine.schema.tensorflow_view import default_of
from engine.storage import paths as _paths
from engine.storage.listing import broken_link

if TYPE_CHECKING:
    from engine.dataset.verify import VerifyReport
    from engine.feed import Feed

__all__ = ["DataPaths", "Dataset", "as_dataset"]

DataPaths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Manifest


class Dataset:
    """Files on disk as one sequence of records. Make one with `Dataset.open`.

    Attributes:
        paths: the files, in order.
        format: that all of them have.
        left_out: files of a manifest that what was given does not name.
        levels: of files with keys above a directory that is none, how many directories lie below what was given.
    """

    def __init__(
        self, files: FileSet, format: str, schema: pa.Schema | None, everything: Sequence[str] | None = None
    ) -> None:
        self.paths = list(files.paths)
        # Those that filters leave out too: the type of a directories' column is the same whatever is filtered.
        self._everything = list(files.paths if everything is None else everything)
        self.format = format
        self.left_out = files.left_out
        self.levels = files.levels
        self._given_schema = schema
        self._listed = dict(files.known)
        self._known = dict(files.known)
        self._stored_schema = files.schema

    @staticmethod
    def open(
        paths: DataPaths,
        feature_spec: Mapping[str, Any] | pa.Schema | str | os.PathLike[str] | None = None,
        sequence_features: Mapping[str, Any] | None = None,
        *,
        check_present: bool = True,
        filters: Sequence[Filter] = (),
    ) -> Dataset:
        """Opens a data set without reading its records.

        Args:
            paths: a file, directory, glob, manifest (path or object), or a list of files, directories and globs.
            feature_spec: TensorFlow feature spec or Arrow schema of the columns to read, or a Schema of TensorFlow Metadata (the
                message, or the path of a `schema.pbtxt`); None takes the manifest's or infers it from the files.
            sequence_features: of tf.SequenceExample: key of a feature list to `FixedLenSequenceFeature`, `VarLenFeature` or
                `RaggedFeature`, as `tf.io.parse_sequence_example` takes them; `feature_spec` then names the context features,
                and None reads none of those.
            check_present: refuse files that are gone or have another size than their manifest says.
            filters: (key, operator, value) of columns that the names of directories hold (`year=2024/`), as pyarrow takes them, or
                a text such as "year>=2024": files that do not pass all are not part of the data set, and never opened.

        Raises:
            DataError: no file, files of two formats, or files that are not what their manifest says.
            ConfigError: a feature spec that tf.Example or tf.SequenceExample cannot hold.
        """
        schema = _given_schema(feature_spec, sequence_features)
        if isinstance(paths, str | os.PathLike) and is_manifest(os.fspath(paths)):
            paths = Manifest.load(os.fspath(paths))
        if isinstance(paths, Manifest):
            known = {entry.path: entry for entry in paths.files}
            files = FileSet(paths=paths.paths, known=known, schema=paths.schema)
            for entry in paths.files if check_present else ():
                refuse_absent(entry)
        else:
            files = resolve(paths, check_present)
        everything = files.paths
        if filters:
            kept = keep_files(files.paths, filters, files.levels)
            there = set(kept)
            files = dataclasses.replace(files, paths=kept, known={n: e for n, e in files.known.items() if n in there})
        return Dataset(files, _one_format(files), schema, everything)

    def __repr__(self) -> str:
        return f"Dataset({len(self.paths)} {self.format} file{'s' * (len(self.paths) != 1)}, first {self.paths[0]})"

    @functools.cached_property
    def schema(self) -> pa.Schema:
        """The columns: as given at `open`, else as the manifest says, else inferred."""
        if self._given_schema is None and self._stored_schema is not None:
            return self._stored_schema
        return self._schema()

    def schema_of_all_records(self) -> pa.Schema:
        """Returns the schema as given at `open`, or inferred from every record, however many there are."""
        return self._schema(sample_bytes=None)

    def _schema(self, **options: Any) -> pa.Schema:
        """The schema as given or inferred, with the columns that directories hold behind those of the files."""
        module = format_module(self.format)
        if self._given_schema is not None:
            partitions = partition_fields(self._everything, self.levels)
            self._refuse_unknown(module, self._given_schema, {field.name for field in partitions})
            names = getattr(module, "column_names", None)
            own = set(names(self.paths[0]) if names and partitions else ())
            if self._stored_schema is not None:  # of TFRecord nobody else says before it is read what the files hold
                own.update(stored_columns(self._stored_schema, ReadOptions())[0].names)
            given = mark_partitions(self._given_schema, [field for field in partitions if field.name not in own])
            types_of = getattr(module, "column_types", None)
            return given if types_of is None else note_times(given, self.paths, types_of, self._stored_schema)
        inferred = module.infer_schema(self.paths, **options)
        refuse_half_stored(self.paths, inferred.names, getattr(module, "column_names", None), self.levels)
        return with_partitions(inferred, self._everything, self.levels)

    @functools.cached_property
    def manifest(self) -> Manifest:
        """Counts and blocks of every file; those that no stored manifest covers are scanned now."""
        entries = []
        for path in self.paths:
            entries.append(self._known.get(path) or self._scan(path))
            self._known[path] = entries[-1]
        return Manifest(tuple(entries), self.schema)

    @property
    def num_records(self) -> int:
        """Records in all files."""
        return sum((self._known.get(path) or self._scan(path)).records for path in self.paths)

    @functools.cached_property
    def size_bytes(self) -> int:
        """Bytes of all files, wherever they are: as their manifest says, else as the file system or object store does."""
        return sum(
            entry.size_bytes if (entry := self._known.get(path)) else _paths.stat(path)[0] for path in self.paths
        )

    @property
    def known_entries(self) -> Mapping[str, FileEntry]:
        """What is known of files by now, from stored manifests or scans."""
        return dict(self._known)

    @property
    def listed_entries(self) -> Mapping[str, FileEntry]:
        """What stored manifests say of files: what these are held against, where a scan only says what is there."""
        return dict(self._listed)

    def _scan(self, path: str) -> FileEntry:
        found = FileEntry.scan(path, empty=self.format)
        self._known[path] = dataclasses.replace(found, levels=self.levels_of(path))
        return self._known[path]

    def levels_of(self, path: str) -> int | None:
        """Returns how many directories of a file may say what its columns hold; see `engine.formats.split.Split`."""
        entry = self._known.get(path)
        return self.levels.get(path) if entry is None else entry.levels

    def feature_spec(self) -> dict[str, Any]:
        """Returns the TensorFlow feature spec of the schema. Imports TensorFlow.

        A feature spec cannot say frames: a column of a feature list is the `VarLenFeature` of the values of all its frames.
        """
        return feature_spec_from_schema(self.schema)

    def sequence_spec(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns (context_features, sequence_features) for `tf.io.parse_sequence_example`. Imports TensorFlow."""
        return sequence_spec_from_schema(self.schema)

    def splits(self, target_bytes: int = 64 << 20) -> list[Split]:
        """Returns splits that cover every record exactly once, each of about `target_bytes` on disk.

        Args:
            target_bytes: bytes of a split, at least 1. Parquet is cut between row groups, compressed TFRecord not at all.

        Raises:
            ConfigError: target_bytes is below 1.
        """
        if target_bytes < 1:
            raise ConfigError(f"target_bytes is {target_bytes}; it takes at least 1")
        found: list[Split] = []
        for path in self.paths:
            entry = self._known.get(path)
            module = format_module(self.format)
            compression = entry.compression if entry else module.file_compression(path)
            size_bytes = entry.size_bytes if entry else _paths.stat(path)[0]
            splits = module.split_file(path, compression, size_bytes, entry.blocks if entry else None, target_bytes)
            levels = self.levels_of(path)
            found += splits if levels is None else [dataclasses.replace(split, levels=levels) for split in splits]
        return found

    def _refuse_unknown(self, module: Any, schema: pa.Schema, elsewhere: set[str]) -> None:
        """Refuses a name that no file has, where files say their columns: it would be missing in every record."""
        names = getattr(module, "column_names", None)
        unknown = [field.name for field in schema if field.name not in elsewhere and default_of(field) is None]
        if names is None:
            return
        for path in self.paths:
            have = set(names(path))
            unknown = [name for name in unknown if name not in have]
            if not unknown:
                return
        if unknown and names:
            raise ConfigError(
                f"column {unknown[0]!r} not found in any file; the first has {listed(names(self.paths[0]))}"
            )

    def read_batches(
        self,
        batch_rows: int = 65536,
        columns: Sequence[str] | None = None,
        *,
        damage: DamageLog | None = None,
        **options: Any,
    ) -> Iterator[pa.RecordBatch]:
        """Yields every record once, in order; counts are reconciled with the manifest where there is one.

        Args:
            batch_rows: rows of each batch; the last of each file may have fewer, and with `threads` any batch.
            columns: names to read, in the order wanted; None for all.
            damage: where to note records skipped under on_damage="skip".
            **options: the rest of `engine.formats.options.ReadOptions` (dictionary, threads, on_damage, skip_budget).

        Raises:
            DataError: a damaged record, or a file with more or fewer records than its manifest says.
        """
        if damage is None:
            damage = DamageLog(ReadOptions(batch_rows=batch_rows, **options))
        for split in self.splits(1 << 62):
            entry = self._known.get(split.path)
            if entry is not None:
                split = entry.whole()
            yield from read_split(split, self.schema, batch_rows, columns, damage=damage, **options)

    def write(
        self,
        out: str | os.PathLike[str],
        format: str = "parquet",
        num_shards: int = 16,
        compression: str | None = None,
        **options: Any,
    ) -> Manifest | Mapping[str, Manifest]:
        """Writes the data set as `num_shards` even shards with a manifest, and returns that; of each part where it is split.

        Args:
            out: directory; it appears whole, and replaces one that is there.
            format: "parquet" or "tfrecord".
            num_shards: files; each holds as many records as the others, or one more.
            compression: None, "gzip"; TFRecord also "zlib", Parquet "zstd" and "snappy".
            **options: how it is split, as `ingest` takes it: fractions, split_by, stratify_by, split_time, ...
        """
        from engine.dataset.sharding.ingest_source import ingest_dataset

        return ingest_dataset(
            self, os.fspath(out), format=format, num_shards=num_shards, compression=compression, **options
        )

    def verify(self) -> VerifyReport:
        """Reads every byte, checks every checksum and count, and returns a `VerifyReport` of all damage found."""
        from engine.dataset.verify import verify

        return verify(self)

    def feed(self, **options: Any) -> Feed:
        """Returns the training feed of this data set: see `engine.feed.make_feed`."""
        from engine.feed import make_feed

        return make_feed(self, **options)


def as_dataset(data: Dataset | DataPaths) -> Dataset:
    """Returns the data set that is given, opened where only its paths are."""
    return data if isinstance(data, Dataset) else Dataset.open(data)


def _given_schema(
    feature_spec: Mapping[str, Any] | pa.Schema | str | os.PathLike[str] | None,
    sequence_features: Mapping[str, Any] | None,
) -> pa.Schema | None:
    given: Any = as_feature_spec(feature_spec)
    if isinstance(given, pa.Schema):
        if sequence_features is not None:
            raise ConfigError(
                "an Arrow schema says itself which columns are feature lists: leave sequence_features out"
            )
        return given
    if sequence_features is not None:
        return sequence_schema(schema_from_feature_spec(given or {}), sequence_features)
    return None if given is None else schema_from_feature_spec(given)


def _one_format(files: FileSet) -> str:
    """Returns the format of all files, by their manifest or their first bytes.

    Raises:
        DataError: two formats, or a file of none.
    """
    formats: dict[str, str] = {}
    faults: list[DataError] = []
    for name in files.paths:
        entry = files.known.get(name)
        if entry is None and (broken := broken_link(name)):
            faults.append(DataError(broken, path=name))  # for whoever opened the data set without a check to report
            continue
        formats.setdefault(entry.format if entry else detect(name, empty=""), name)
    nameless = formats.pop("", None)  # an empty file is of the format of those beside it
    if not formats and nameless is not None:
        return detect(nameless)
    if not formats:
        raise faults[0]
    if len(formats) > 1:
        (first, one), (second, other) = list(formats.items())[:2]
        raise DataError(f"is {second}, but {one} is {first}; open them as two data sets", path=other)
    return next(iter(formats))
