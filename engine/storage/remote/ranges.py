"""One range of one object's bytes, and of no other that has taken its place."""

from __future__ import annotations

import errno
from typing import Any

from engine.storage.remote.filesystem import resolve, store_of
from engine.storage.remote.listing import ObjectInfo, look_up
from engine.storage.remote.options import RemoteOptions
from engine.storage.remote.retry import ReplacedObject, ShortRead

__all__ = ["read_range"]


def read_range(uri: str, info: ObjectInfo, offset: int, length: int, options: RemoteOptions) -> bytes:
    """Returns the bytes [offset, offset + length) of the object that was looked up, by one try.

    S3 is asked for them on the condition that it is that object still, which costs nothing; other stores are asked behind them
    whether it is.

    Args:
        uri: of the object.
        info: what was said of it.
        offset: of the first byte.
        length: bytes, all of which it has.
        options: of the request.

    Raises:
        ShortRead: fewer bytes came.
        ReplacedObject: another object is there.
        OSError and whatever the store's library raises: the request failed.
    """
    filesystem, path = resolve(uri, options)
    store = store_of(filesystem)
    if store is None:
        with filesystem.open_input_file(path) as handle:
            data: bytes = handle.read_at(length, offset)
    elif info.mark and hasattr(store, "call_s3"):
        return _whole(_from_s3(store, path, uri, info, offset, length), length)
    else:
        data = store.cat_file(path, start=offset, end=offset + length)
    if info.mark and look_up(uri) != info:
        raise _replaced()
    return _whole(data, length)


def _from_s3(store: Any, path: str, uri: str, info: ObjectInfo, offset: int, length: int) -> bytes:
    from fsspec.asyn import sync

    bucket, key, _ = store.split_path(path)
    try:
        answer = store.call_s3(
            "get_object", Bucket=bucket, Key=key, Range=f"bytes={offset}-{offset + length - 1}", IfMatch=info.mark
        )
    except OSError as error:
        if error.errno == errno.EINVAL and look_up(uri) != info:  # what a condition that does not hold is translated to
            raise _replaced() from error
        raise
    body = answer["Body"]

    async def read() -> bytes:
        try:
            data: bytes = await body.read()
            return data
        finally:
            body.close()

    data: bytes = sync(store.loop, read)
    if answer.get("ETag", info.mark) != info.mark:  # servers that do not know the condition
        raise _replaced()
    return data


def _whole(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise ShortRead(
            f"{len(data)} of {length} bytes came; the object may have been cut or replaced while it was read"
        )
    return data


def _replaced() -> ReplacedObject:
    return ReplacedObject("another object was put in its place while it was read; open it again")
