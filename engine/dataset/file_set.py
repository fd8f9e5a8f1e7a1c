"""Which files a data set has: what the user names, held against the manifests that lie beside them.

A manifest lists every file of its directory, so that a deleted one is noticed in whatever form the data are named:
directory, glob, list or URI. A glob that matches fewer files than there are leaves the others out on purpose, which is said.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Mapping

import pyarrow as pa

from engine.core.errors import DataError
from engine.dataset.file_entry import FileEntry
from engine.dataset.manifest import MANIFEST_NAME, Manifest
from engine.dataset.named_files import NamedFiles, levels_of, named, path_key, warn_of_links, warn_of_splits
from engine.dataset.shard_numbers import absent_shards
from engine.formats.partitions import with_partitions
from engine.storage import paths as _paths
from engine.storage import uris as _uris
from engine.storage.destination import UNFINISHED
from engine.storage.pipes import refuse_pipe
from engine.storage.tables import table_above

__all__ = ["FileSet", "check_present", "resolve"]
_LOG = logging.getLogger("fullpass.engine")
_NAMED = 3  # files that one message names


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSet:
    """The files of a data set and what is known of them before one is opened.

    Args:
        paths: files, in order.
        known: entry by path, of those that a manifest lists.
        schema: of the manifests, where they list every file and agree.
        left_out: files of a manifest that what was given does not name.
        levels: of files with keys above a directory that is none; see `engine.formats.partitions.partition_keys`.
    """

    paths: list[str]
    known: dict[str, FileEntry]
    schema: pa.Schema | None = None
    left_out: tuple[str, ...] = ()
    levels: Mapping[str, int] = dataclasses.field(default_factory=dict)


def resolve(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], check: bool = True) -> FileSet:
    """Returns the files that paths, globs and directories name, with the manifests beside them.

    Args:
        paths: a file, directory or glob, or a list of those.
        check: refuse files that are gone or have another size than their manifest says; else the gone ones are in `paths`.

    Raises:
        DataError: no file, a file that a manifest lists and that is gone, or a damaged manifest.
    """
    given = [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else list(paths))]
    for path in given:
        refuse_pipe(path)
    names = _paths.expand(given, broken_links=not check)
    warn_of_links(names)
    wanted = named(given, names)
    levels = levels_of(names, wanted)
    manifest_paths = _beside(names, wanted)
    manifests = [Manifest.load(path, contained=True) for path in manifest_paths]
    known: dict[str, FileEntry] = {}
    left_out: list[str] = []
    spelled = {path_key(name): name for name in names}
    for manifest_path, manifest in zip(manifest_paths, manifests):
        _say_unlisted(manifest_path, manifest, wanted, spelled)
        absent = []
        for entry in manifest.files:
            name = spelled.get(path_key(entry.path))
            if name is not None:
                known[name] = dataclasses.replace(entry, path=name)
                if check:
                    check_present(known[name])
                continue
            absent.append(entry)
        gone, others = _sorted_out(absent, manifest, wanted, spelled)
        for entry in gone:
            if check:
                check_present(entry)
            names.append(entry.path)  # gone, and so to be reported
            known[entry.path] = entry
        left_out += [entry.path for entry in others]
    _say_left_out(left_out, len(known))
    warn_of_splits(names, wanted)
    _say_tables(names)
    if not manifests:
        for said in absent_shards(names):
            _LOG.warning("%s", said)
    schemas = [manifest.schema for manifest in manifests]
    whole = len(known) == len(names) and all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    schema = schemas[0] if whole and schemas else None
    if schema is not None and _in_keys(manifest_paths, wanted):
        # A manifest says all columns of its own directory; those below the one that was given do not know their directories' names.
        schema = with_partitions(schema, names, levels)
    alone = len(manifests) == 1
    known = {
        name: dataclasses.replace(entry, levels=_levels(entry, levels.get(name), alone))
        for name, entry in known.items()
    }
    return FileSet(
        paths=names,
        known=known,
        schema=schema,
        left_out=tuple(left_out),
        levels=levels,
    )


def _levels(entry: FileEntry, given: int | None, alone: bool) -> int | None:
    """How many directories of a file may say what its columns hold.

    What each of several manifests' directories is called is a key as others are: its files must say the same. What that of a
    single one is called counts for columns that its files lack, also where a directory that is no key lies between.
    """
    if not alone or entry.levels is None:
        return given
    return entry.levels if given is None else max(entry.levels, given)


def _in_keys(manifest_paths: list[str], wanted: list[NamedFiles]) -> bool:
    """Whether a manifest lies below what was given, or others beside it: then directories are told apart by their names."""
    above = [one.root.rstrip("/") + "/" for one in wanted if one.root]
    directories = [path_key(_paths.parent(path)) for path in manifest_paths]
    return len(directories) > 1 or any(key.startswith(root) for key in directories for root in above)


def _say_unlisted(manifest_path: str, manifest: Manifest, wanted: list[NamedFiles], spelled: Mapping[str, str]) -> None:
    """Warns of files that lie where a manifest lists every file, and which it does not list; not of those named one by one."""
    root = path_key(_paths.parent(manifest_path)).rstrip("/") + "/"
    inner = {path_key(entry.path) for entry in manifest.files} | {one.key for one in wanted if one.is_file}
    others = [name for key, name in spelled.items() if key.startswith(root) and key not in inner]
    others = [name for name in others if not _manifest_between(name, root)]
    if others:
        shown = ", ".join(name.rsplit("/", 1)[-1] for name in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        _LOG.warning(
            "%s: not in the manifest there, and read as well: %s%s; move away what does not belong there",
            _paths.parent(manifest_path),
            shown,
            more,
        )


def _manifest_between(name: str, root: str) -> bool:
    """Whether a file below a manifest's directory has a nearer manifest, in which it may be listed."""
    directory = _paths.parent(name)
    while len(path_key(directory)) >= len(root):
        if _paths.exists(_paths.join(directory, MANIFEST_NAME)):
            return True
        directory = _paths.parent(directory)
    return False


def _say_tables(names: list[str]) -> None:
    """Warns of files that lie in a table whose metadata may say that they, or records of them, are deleted."""
    local = (name for name in names if not _uris.is_remote(name))
    for directory in dict.fromkeys(_above_partitions(_paths.parent(name)) for name in local):
        kind = table_above(directory)
        if kind is not None:
            _LOG.warning(
                "%s is a table of %s, whose metadata may say that files which are read here, or records of them, are deleted",
                directory,
                kind,
            )
            return


def check_present(entry: FileEntry) -> None:
    """Holds a file to its entry in the manifest.

    Raises:
        DataError: it is gone or has another size.
    """
    if not _paths.exists(entry.path):
        raise DataError(
            f"is listed in the manifest with {entry.records} records, but is not there: restore it, or name only the files "
            f"that are meant, or delete {MANIFEST_NAME} if it is gone for good",
            path=entry.path,
        )
    size_bytes, _ = _paths.stat(entry.path)
    if size_bytes != entry.size_bytes:
        raise DataError(
            f"has {size_bytes} bytes, its manifest says {entry.size_bytes}: the file was cut or changed after the manifest "
            f"was written; restore it, or delete {MANIFEST_NAME} and open again",
            path=entry.path,
            offset_bytes=min(size_bytes, entry.size_bytes),
        )


def _sorted_out(
    absent: list[FileEntry], manifest: Manifest, wanted: list[NamedFiles], spelled: dict[str, str]
) -> tuple[list[FileEntry], list[FileEntry]]:
    """Sorts a manifest's files that were not found into those that are missed and those that were not meant.

    A shell replaces a glob by the files that are there: a list that holds all of those, two at least, means the others too.
    """
    missed: list[FileEntry] = []
    others: list[FileEntry] = []
    files, patterns = {one.key for one in wanted if one.is_file}, [one for one in wanted if not one.is_file]
    for entry in absent:
        key = path_key(entry.path)
        named = key in files or any(one.names(key) for one in patterns)
        (missed if named else others).append(entry)
    if others and len(manifest.files) - len(absent) > 1 and not any(_paths.exists(entry.path) for entry in others):
        missed, others = [*missed, *others], []
    return missed, others


def _beside(names: list[str], wanted: list[NamedFiles]) -> list[str]:
    """Paths of the manifests beside the files, and of those in the directories between them and the one given."""
    roots = {one.root for one in wanted if one.root}
    directories: dict[str, str] = {}  # by key; the spelling keeps a URI's query
    for directory in dict.fromkeys(_paths.parent(name) for name in names):
        key = path_key(directory)
        spelled = directory if _uris.is_remote(directory) else key
        above = [root for root in roots if key == root or key.startswith(root.rstrip("/") + "/")]
        directories.setdefault(key, spelled)
        top = min([*above, _above_partitions(key)], key=len)
        while key != top and len(key) > len(top):
            spelled = _paths.parent(spelled)
            key = path_key(spelled)
            directories.setdefault(key, spelled)
    found = []
    for directory in directories.values():
        path = _paths.join(directory, MANIFEST_NAME)
        if _paths.exists(path):
            found.append(path)
        else:
            _check_finished(directory)
    return found


def _check_finished(directory: str) -> None:
    """An object store has no rename: shards of a writer that was killed are there without their manifest."""
    if _uris.is_remote(directory) and _paths.exists(_paths.join(directory, UNFINISHED)):
        raise DataError(
            f"is not finished: its writer is at work or was killed (it has {UNFINISHED} and no {MANIFEST_NAME}); wait for it, "
            "or write it again",
            path=directory,
        )


def _above_partitions(directory: str) -> str:
    """The directory that a run of `key=value` directories lies in, whose manifest lists the files of all of them."""
    while "=" in directory.rpartition("/")[2]:
        directory = os.path.dirname(directory)
    return directory or "."


def _say_left_out(left_out: list[str], used: int) -> None:
    if left_out:
        names = ", ".join(path.rsplit("/", 1)[-1] for path in left_out[:_NAMED])
        more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
        _LOG.warning(
            "reading %d of the %d files that the manifest lists; not named, and so left out: %s%s",
            used,
            used + len(left_out),
            names,
            more,
        )
