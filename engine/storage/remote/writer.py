"""Writing a remote object so that it appears whole or not at all.

The bytes go to a local spool file first and are sent once the writer is done: a failed writer sends nothing, and a failed upload
starts again from the spool. Stores with objects (S3, GCS) show an object only when its upload is complete; on stores with
directories (HDFS and the like) it is sent under a temporary name and renamed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from engine.storage.remote.filesystem import resolve, scheme_of
from engine.storage.remote.options import RemoteOptions, current_options
from engine.storage.remote.retry import ShortRead, with_retries

__all__ = ["open_output"]

_OBJECT_STORES = ("s3", "gs", "gcs")
_CHUNK_BYTES = 8 << 20  # in memory at once, however large the object


@contextlib.contextmanager
def open_output(uri: str, options: RemoteOptions | None = None) -> Iterator[BinaryIO]:
    """Yields a binary file; what it holds when the block ends well becomes the object at `uri`.

    Raises:
        DataError: the store did not take the object after all attempts; nothing new is stored at `uri` then.
    """
    options = options or current_options()
    with tempfile.TemporaryFile(prefix="fullpass-upload-") as spool:
        yield spool  # type: ignore[misc]
        size = spool.seek(0, os.SEEK_END)
        with_retries(lambda: _send(spool, size, uri, options), what=f"write {size} bytes", uri=uri, options=options)


def _send(spool: Any, size: int, uri: str, options: RemoteOptions) -> None:
    filesystem, path = resolve(uri, options)
    direct = scheme_of(uri) in _OBJECT_STORES
    parent, _, name = path.rpartition("/")
    target = path if direct else f"{parent}/.{name}.tmp-{secrets.token_hex(4)}"
    if not direct and parent:
        filesystem.create_dir(parent, recursive=True)
    spool.seek(0)
    # pyarrow would compress what is named .gz once more: https://arrow.apache.org/docs/python/generated/pyarrow.fs.FileSystem.html
    with filesystem.open_output_stream(target, compression=None) as out:
        while chunk := spool.read(_CHUNK_BYTES):
            out.write(chunk)
    if not direct:
        filesystem.move(target, path)
    seen = filesystem.get_file_info(path).size
    if seen != size:
        raise ShortRead(f"the store holds {seen} bytes of {size}")
