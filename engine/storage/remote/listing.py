"""What is behind a URI: one object, a directory, or all that a glob matches."""

from __future__ import annotations

import datetime
import re
from typing import Any, NamedTuple

from engine.core.errors import DataError
from engine.storage.glob_patterns import glob_regex
from engine.storage.listing import is_data_name
from engine.storage.remote.filesystem import resolve, scheme_of, store_of
from engine.storage.remote.options import current_options
from engine.storage.remote.retry import with_retries
from engine.storage.tables import refuse_tables

__all__ = ["ObjectInfo", "exists", "expand", "list_below", "look_up", "marks_below", "stat"]

_MAGIC = re.compile(r"[*?\[]")

# Under which names fsspec's stores give the time of an object's change, and what else differs where its content does.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
_DIGESTS = ("ETag", "etag", "generation", "md5Hash")


class ObjectInfo(NamedTuple):
    """What a store says of an object.

    Args:
        size_bytes: of it.
        modified_ns: time of the last change, of which S3 has whole seconds; 0 where the store has none.
        mark: another one where the content is another: the store's own digest or generation where it has one, else the time.
    """

    size_bytes: int
    modified_ns: int
    mark: str


def stat(uri: str) -> tuple[int, int]:
    """Returns (size in bytes, modification time in ns) of an object.

    Raises:
        DataError: there is no such object, or the store did not answer.
    """
    return look_up(uri)[:2]


def exists(uri: str) -> bool:
    """Returns whether an object is there. A directory is not an object."""
    return _info(uri) is not None


def look_up(uri: str) -> ObjectInfo:
    """Returns what the store says of an object, by one request.

    Raises:
        DataError: there is no such object, or the store did not answer.
    """
    info = _info(uri)
    if info is None:
        raise DataError("no object is here; check the URI", path=uri)
    return info


def _info(uri: str) -> ObjectInfo | None:
    from pyarrow import fs

    filesystem, path = resolve(uri)
    store = store_of(filesystem)

    def request() -> ObjectInfo | None:
        if store is None:
            info = filesystem.get_file_info(path)
            found = info.type == fs.FileType.File
            return ObjectInfo(int(info.size), int(info.mtime_ns or 0), str(info.mtime_ns or "")) if found else None
        try:
            said = store.info(path)
        except FileNotFoundError:
            return None
        return ObjectInfo(int(said["size"]), _modified_ns(said), _mark(said)) if said["type"] == "file" else None

    return with_retries(request, what="look it up", uri=uri, options=current_options())


def expand(uri: str) -> list[str]:
    """Returns the URIs of the data objects that a URI names, sorted; an empty list where there is none.

    A directory (prefix) stands for all objects below it whose name, and whose directories' names below it, do not begin with `_` or `.`.
    A glob may hold `*`, `?`, `[…]` inside a name and `**` for any depth.

    Raises:
        DataError: the store did not answer or forbids listing, or a directory is a table of Delta, Hudi or Iceberg.
    """
    head, glob_path = _split_glob(uri)
    if glob_path is None and exists(uri):
        return [uri]
    below = _below(head)
    if glob_path is None:
        refuse_tables(found.partition("?")[0] for found in below)
    return sorted(found for found in below if _wanted(found, head, glob_path))


def _split_glob(uri: str) -> tuple[str, str | None]:
    """Returns (prefix without magic, whole glob or None). The query of an s3:// URI is not a glob."""
    scheme = scheme_of(uri)
    body, question, query = uri.partition("?")
    if scheme not in ("s3", "gs", "gcs") or "=" not in query:
        body, question, query = uri, "", ""
    match = _MAGIC.search(body, len(scheme) + 3)
    if match is None:
        return uri.rstrip("/"), None
    return body[: body.rfind("/", 0, match.start())] + question + query, body


def list_below(uri: str) -> tuple[str, list[Any]]:
    """Returns (path of a URI inside its file system, pyarrow.fs.FileInfo of every object below it); none where nothing is.

    Raises:
        DataError: the store did not answer or forbids listing.
    """
    from pyarrow import fs

    filesystem, path = resolve(uri)
    selector = fs.FileSelector(path, recursive=True, allow_not_found=True)

    def listed() -> Any:
        try:
            return filesystem.get_file_info(selector)
        except NotADirectoryError:
            # Whether it is a directory, and whether it is there at all, are two requests: it came into being between them.
            return filesystem.get_file_info(selector)

    infos = with_retries(listed, what="list it", uri=uri, options=current_options())
    return path, [info for info in infos if info.type == fs.FileType.File]


def marks_below(uri: str) -> tuple[tuple[Any, ...], ...]:
    """Returns (name below the URI, bytes, mark) of every object below it, sorted; the mark differs when the content does.

    It is the store's own digest or generation where it has one: times of change are whole seconds in S3, and an object may be
    written twice in one.

    Raises:
        DataError: the store did not answer or forbids listing.
    """
    filesystem, path = resolve(uri)
    store = store_of(filesystem)
    prefix = path.rstrip("/") + "/"
    if store is None:
        return tuple(sorted((i.path.removeprefix(prefix), i.size, i.mtime_ns) for i in list_below(uri)[1]))
    found = with_retries(lambda: store.find(path, detail=True), what="list it", uri=uri, options=current_options())
    return tuple(
        sorted(
            (name.removeprefix(prefix), int(info.get("size") or 0), _mark(info))
            for name, info in found.items()
            if name.startswith(prefix)
        )
    )


def _modified_ns(info: Any) -> int:
    """The time of change that a store gives, under the names and in the types that fsspec's stores have for it."""
    for key in _TIMES:
        value = info.get(key)
        if isinstance(value, datetime.datetime):
            return int(value.timestamp()) * 10**9 + value.microsecond * 1000
        if isinstance(value, int | float):
            return int(value * 10**9)
    return 0


def _mark(info: Any) -> str:
    return next((str(info[key]) for key in (*_DIGESTS, *_TIMES) if info.get(key)), "")


def _below(head: str) -> list[str]:
    path, infos = list_below(head)
    body, question, query = head.partition("?")
    base = body.rstrip("/")
    # pyarrow gives paths from the bucket on; the user's own spelling of the prefix is kept.
    return [base + info.path[len(path) :] + question + query for info in infos if info.path.startswith(path)]


def _wanted(found: str, head: str, glob_path: str | None) -> bool:
    body = found.partition("?")[0]
    if glob_path is None:
        relative = body[len(head.partition("?")[0].rstrip("/")) :].strip("/")
        *directories, name = relative.split("/")
        return is_data_name(name) and not any(part.startswith(("_", ".")) for part in directories)
    if body.rsplit("/", 1)[-1].startswith(("_", ".")):
        return False
    return glob_regex(glob_path).fullmatch(body) is not None
