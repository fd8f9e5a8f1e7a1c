"""A remote object as a seekable file: verified range reads, fetched ahead in parallel, cached on request."""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from engine.core.errors import DataError
from engine.storage.remote.cache import BlockCache
from engine.storage.remote.filesystem import resolve, store_of
from engine.storage.remote.listing import look_up
from engine.storage.remote.options import RemoteOptions, current_options
from engine.storage.remote.ranges import read_range
from engine.storage.remote.retry import with_retries

__all__ = ["RemoteFile", "open_input", "read_whole"]


def open_input(uri: str, options: RemoteOptions | None = None) -> RemoteFile:
    """Opens a remote object for reading. See `RemoteFile`.

    Raises:
        DataError: there is no such object, or the store did not answer.
    """
    return RemoteFile(uri, options or current_options())


def read_whole(uri: str) -> bytes | None:
    """Returns all bytes of a small object, None where there is none, by one request for all of them.

    A range of the size that a look-up gave would cut an object that a writer has put in its place meanwhile off at the old
    one's length.

    Raises:
        DataError: the store did not answer or refuses the keys.
    """
    options = current_options()
    filesystem, path = resolve(uri, options)
    store = store_of(filesystem)

    def request() -> bytes | None:
        try:
            if store is not None:
                data: bytes = store.cat_file(path)
                return data
            with filesystem.open_input_stream(path) as stream:
                return bytes(stream.read())
        except (FileNotFoundError, IsADirectoryError):
            return None

    return with_retries(request, what="read it", uri=uri, options=options)


class RemoteFile(io.RawIOBase):
    """A remote object as an unbuffered binary file; `read_at` may be called from many threads at once.

    Bytes are fetched in blocks of `options.block_bytes`. When blocks are read one after the other (the first one counts) the
    next `options.read_ahead_blocks` are fetched in parallel before they are asked for. At most `read_ahead_blocks + 2` blocks of
    a file are in memory.
    What the store says of the object is taken once, when it is opened; a block is checked against the length that follows from it, and
    asked of that very object (`ranges.read_range`), so that one cut or replaced while it is read gives an error and never mixed bytes.
    """

    def __init__(self, uri: str, options: RemoteOptions) -> None:
        super().__init__()
        self.uri, self.options = uri, options
        self._info = look_up(uri)
        self.size_bytes = self._info.size_bytes
        self._cache = BlockCache(options.cache_dir, options.cache_bytes) if options.cache_dir else None
        self._position = 0
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._last_block = -1  # so that reading from the start counts as sequential
        self._pool: ThreadPoolExecutor | None = None

    def read_at(self, offset: int, length: int) -> bytes:
        """Returns exactly the bytes [offset, offset + length), less where the object ends.

        Raises:
            DataError: they could not be had, with URI and offset.
        """
        stop = min(offset + length, self.size_bytes)
        if stop <= offset:
            return b""
        size = self.options.block_bytes
        first, last = offset // size, (stop - 1) // size
        if first == last:
            block = self._block(first)
            return block[offset - first * size : stop - first * size]
        parts = []
        for index in range(first, last + 1):
            block = self._block(index)
            begin = max(offset - index * size, 0)
            parts.append(memoryview(block)[begin : min(stop - index * size, len(block))])
        return b"".join(parts)

    def _block(self, index: int) -> bytes:
        with self._lock:
            if self.closed:
                raise ValueError("read of a closed file")
            future = self._want(index)
            self._blocks.move_to_end(index)  # before the blocks ahead, so that none of them pushes it out
            if index == self._last_block + 1:
                blocks = -(-self.size_bytes // self.options.block_bytes)
                for ahead in range(index + 1, min(index + 1 + self.options.read_ahead_blocks, blocks)):
                    self._want(ahead)
            self._last_block = index
        try:
            return future.result()
        except BaseException:
            with self._lock:
                self._blocks.pop(index, None)  # a later read may try again
            raise

    def _want(self, index: int) -> Future[bytes]:
        future = self._blocks.get(index)
        if future is None:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self.options.read_ahead_blocks + 1, thread_name_prefix="fullpass-remote"
                )
            future = self._blocks[index] = self._pool.submit(self._fetch, index)
            while len(self._blocks) > self.options.read_ahead_blocks + 2:
                _, dropped = self._blocks.popitem(last=False)
                dropped.cancel()
        return future

    def _fetch(self, index: int) -> bytes:
        offset = index * self.options.block_bytes
        length = min(self.options.block_bytes, self.size_bytes - offset)
        key = BlockCache.key(self.uri, self._info, offset, length)
        block = self._cache.get(key) if self._cache else None
        if block is None:
            try:
                block = with_retries(
                    lambda: read_range(self.uri, self._info, offset, length, self.options),
                    what=f"read bytes {offset} to {offset + length - 1}",
                    uri=self.uri,
                    options=self.options,
                )
            except DataError as error:
                raise DataError(error.message, path=self.uri, offset_bytes=offset) from error
            if self._cache:
                self._cache.put(key, block)
        return block

    # ---- io.RawIOBase

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read_at(self._position, len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        wanted = self.size_bytes - self._position if size is None or size < 0 else size
        data = self.read_at(self._position, max(wanted, 0))
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        return self.read(-1)

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
            self._blocks.clear()
