"""What a path or URI says: whether it is of this machine, and what its local name is."""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path

from engine.core.errors import ConfigError

__all__ = ["arrow_name", "is_remote", "local_path", "local_text", "require_local", "split_query"]

_FILE = re.compile(r"file:(?=/)(?://([^/]*))?", re.IGNORECASE)
# `pathlib.Path("s3://bucket/x")` is s3:/bucket/x, which would be a directory here.
_LOST_SLASH = re.compile(
    r"((?:s3|s3a|gs|gcs|hdfs|webhdfs|abfss?|az|adl|https?|ftp):)/([^/].*)?", re.IGNORECASE | re.DOTALL
)


def is_remote(path: str) -> bool:
    """Returns whether a path is a URI of another place; `file:` counts as local.

    Raises:
        ConfigError: it is a URI that lost a slash.
    """
    if ":/" not in path:
        return False
    if lost := _LOST_SLASH.fullmatch(path):
        raise ConfigError(
            f"{path!r} is a URI that lost a slash, as in a pathlib.Path: give {lost[1] + '//' + (lost[2] or '')!r} as a text, or "
            f"{'./' + path!r} for a local path"
        )
    return "://" in path and not _FILE.match(path)


def local_path(path: str | os.PathLike[str]) -> Path:
    """Returns a local path, also of a file: URI or one that begins with `~/`.

    Raises:
        ConfigError: the URI names a machine.
    """
    found = Path(local_text(os.fspath(path)))
    # pathlib takes the ./ off ./~, and whoever made a path of its text again would write to the home directory.
    return Path.cwd() / found if found.parts[:1] == ("~",) else found


def local_text(path: str) -> str:
    """Returns a local path as it was written, without `file:`, `file://` or `file://localhost`, and the home directory for `~`.

    A file URI has its `%20` decoded, as `pathlib.Path.as_uri` and Spark write them; a path has them as they are. `~` is a
    home directory where it stands alone or before a slash: no shell replaces that in a file of settings or in `--out=~/x`.

    Raises:
        ConfigError: the URI names another machine, or a path that does not begin with /.
    """
    scheme = _FILE.match(path)
    if scheme is None:
        return os.path.expanduser(path) if path == "~" or path.startswith("~/") else path
    rest = path[scheme.end() :]
    if (scheme[1] or "localhost").lower() != "localhost" or not rest.startswith("/"):
        raise ConfigError(
            f"{path!r}: a file URI is file:///DIRECTORY/NAME, of this machine; give that, or a path without file:"
        )
    return os.fsdecode(urllib.parse.unquote_to_bytes(os.fsencode(rest))) if "%" in rest else rest


def require_local(what: str, path: str | os.PathLike[str]) -> Path:
    """Returns a local path of what cannot be behind a URI: it needs a rename or a lock, or TensorFlow opens it by itself.

    Raises:
        ConfigError: the path is a URI of another machine.
    """
    if is_remote(os.fspath(path)):
        raise ConfigError(
            f"{what} {os.fspath(path)!r} is not on this machine's file systems: give a local or mounted directory, and copy "
            "to or from the store (`aws s3 cp --recursive`, `gcloud storage cp -r`)"
        )
    return local_path(path)


def arrow_name(path: str) -> str | bytes:
    """Returns a local path as Arrow's own files take it: as bytes where it is no UTF-8, which a name may be."""
    name = str(local_path(path))
    return os.fsencode(name) if any("\udc80" <= letter <= "\udcff" for letter in name) else name


def split_query(uri: str) -> tuple[str, str]:
    """Returns (URI without its query, query with its mark): options such as `?region=x`; any other `?` is of a name or glob."""
    body, mark, query = uri.partition("?")
    return (body, mark + query) if mark and "=" in query else (uri, "")
