"""From whatever the data is in to even shards with a manifest, split into parts where asked; nothing half written stays."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError
from engine.dataset.manifest import MANIFEST_NAME
from engine.dataset.sharding.ingest_source import DEFAULT_SHARDS, IngestReport, check_shards, ingest_source
from engine.dataset.sharding.parts.part_options import PartOptions, check_part_name
from engine.dataset.sharding.source import Source
from engine.dataset.sharding.spool import spool_directory
from engine.formats.csv.options import CsvOptions
from engine.formats.partition_filters import Filter
from engine.ingestion.open_source import open_source
from engine.storage import paths as _paths
from engine.storage.destination import Destination
from engine.storage.pipes import is_pipe

__all__ = ["DEFAULT_SHARDS", "IngestReport", "ingest"]


def ingest(
    sources: Any,
    out: str | os.PathLike[str],
    format: str = "parquet",
    num_shards: int = DEFAULT_SHARDS,
    compression: str | None = None,
    *,
    fractions: Mapping[str, float] | None = None,
    split_by: Sequence[str] = (),
    stratify_by: str | None = None,
    split_time: str | None = None,
    eval_from: Any = None,
    test_from: Any = None,
    seed: int = 0,
    label: str | None = None,
    feature_spec: Any = None,
    input_format: str | None = None,
    filters: Sequence[Filter] = (),
    csv_options: CsvOptions | None = None,
) -> IngestReport:
    """Writes CSV, Parquet or TFRecord files as even shards into a directory that appears whole.

    Args:
        sources: files, directories or globs, all of one kind, "-" for standard input, or a `Source`; or a mapping from the
            name of each part to its files.
        out: directory; a former result there is replaced. Data that are split get one directory below it for each part.
        format: "parquet" or "tfrecord".
        num_shards: shards of each part; their record counts differ by one at most.
        compression: None or "gzip"; TFRecord also "zlib", Parquet "zstd" and "snappy".
        fractions, split_by, stratify_by, split_time, eval_from, test_from, seed, label: into which parts records go; see
            `engine.dataset.sharding.parts.part_options.PartOptions`.
        feature_spec: columns of the sources; None infers them.
        input_format: what the sources are, "csv", "parquet" or "tfrecord", whatever they are called; None finds out.
        filters: on the keys of the sources' directories (`year=2024/`), as `Dataset.open` takes them.
        csv_options: how CSV sources are written, and the declared types of their columns.

    Raises:
        ConfigError: an option that cannot work, or an `out` that holds a source or files of another origin.
        DataError: damaged input, or a count that does not reconcile.
    """
    check_shards(format, num_shards, compression)
    options = PartOptions(
        fractions=fractions, split_by=split_by, stratify_by=stratify_by, split_time=split_time, eval_from=eval_from,
        test_from=test_from, seed=seed, label=label,
    )  # fmt: skip
    given = _given_parts(sources, options)
    start = time.monotonic()
    destination = Destination(out, MANIFEST_NAME, in_parts=True)
    out = destination.path
    files_of: dict[str, list[str]] | None = None
    if isinstance(sources, Source):
        source = sources
        files_of = _held_once({name: list(paths) for name, paths in (source.given_parts or {}).items()}) or None
    else:
        paths = [path for files in given.values() for path in files]
        # Again below, when the sources are known: to open them can be a pass over all.
        destination.check(read_whole=[path for path in paths if not is_pipe(os.fspath(path))])
        if "" not in given:
            files_of = _files_of(given)
            paths = [path for files in files_of.values() for path in files]
        # One path alone is opened as such: a directory that is opened whole must hold what its manifest lists.
        source = open_source(
            paths[0] if len(paths) == 1 else paths, feature_spec, csv_options, input_format=input_format,
            filters=filters, spool_directory=spool_directory(out),
        )  # fmt: skip
    return ingest_source(
        source,
        out,
        options,
        format=format,
        num_shards=num_shards,
        compression=compression,
        files_of=files_of,
        start=start,
    )


def _given_parts(sources: Any, options: PartOptions) -> dict[str, list[Any]]:
    """Returns the files that the user gave for each part; under "" where they are to be split, or left together."""
    if isinstance(sources, Source):
        return {"": []}
    if not isinstance(sources, Mapping):
        return {"": [sources] if isinstance(sources, str | os.PathLike) else list(sources)}
    if options.names != ("",):
        raise ConfigError(
            f"files are given for each part ({', '.join(map(str, sources))}), and a way to split them, too; give one of both"
        )
    if not sources:
        raise ConfigError("no part was given; give its files for each, such as {'train': 'a.csv', 'eval': 'b.csv'}")
    for name in sources:
        check_part_name(name)
    return {name: [files] if isinstance(files, str | os.PathLike) else list(files) for name, files in sources.items()}


def _files_of(given: Mapping[str, Iterable[Any]]) -> dict[str, list[str]]:
    """The files of each part, one by one; a file of two parts would put its records into one of them alone."""
    return _held_once({name: _paths.expand(paths) for name, paths in given.items()})


def _held_once(files_of: dict[str, list[str]]) -> dict[str, list[str]]:
    owner: dict[str, str] = {}
    for name, files in files_of.items():
        for file in files:
            if file in owner:
                raise ConfigError(f"{file} is given for the parts {owner[file]!r} and {name!r}; a record has one part")
            owner[file] = name
    return files_of
