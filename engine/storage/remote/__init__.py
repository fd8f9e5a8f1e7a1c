"""Objects behind URIs (s3://, gs://, hdfs://, memory://, …): listing, verified range reads with read-ahead, whole writes.

Every read is retried with back-off on what may pass (time-outs, 5xx answers, cut connections, short reads) and fails with
an error that names the object and the attempts otherwise. An object that a write makes appears whole or not at all.
"""

from engine.storage.remote.cache import BlockCache
from engine.storage.remote.filesystem import resolve
from engine.storage.remote.listing import ObjectInfo, exists, expand, list_below, look_up, marks_below, stat
from engine.storage.remote.options import RemoteOptions, current_options, use_options
from engine.storage.remote.reader import RemoteFile, open_input, read_whole
from engine.storage.remote.writer import open_output

__all__ = [
    "BlockCache",
    "ObjectInfo",
    "RemoteFile",
    "RemoteOptions",
    "current_options",
    "exists",
    "expand",
    "list_below",
    "look_up",
    "marks_below",
    "open_input",
    "open_output",
    "read_whole",
    "resolve",
    "stat",
    "use_options",
]
