"""A SavedModel loaded for serving, and what its directory looked like."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from engine.core.errors import DataError
from engine.storage import tree
from trainers.serving.parsed_inputs import parsed_inputs

__all__ = ["files_of", "load_model"]


def files_of(version: str | os.PathLike[str]) -> tuple[tuple[Any, ...], ...]:
    """Returns name, size and time (in a store, digest) of each file of a version: it differs when a copy into it has gone on."""
    if not tree.is_local(str(version)):
        from engine.storage.remote import marks_below

        return marks_below(str(version))
    found = []
    for folder, _, names in os.walk(version):
        for name in names:
            with contextlib.suppress(OSError):  # it may go while we look
                path = os.path.join(folder, name)
                stat = os.stat(path)
                found.append((os.path.relpath(path, version), stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))


def load_model(path: Path) -> tuple[Any, dict[str, Any], dict[str, frozenset[str]]]:
    """Returns what `tf.saved_model.load` gives, and of each signature its definition and the inputs that are parsed as tf.Examples.

    Raises:
        FileNotFoundError: no `saved_model.pb` is there (yet).
        google.protobuf.message.DecodeError: it is cut.
        DataError: it holds no graph, or something else than files and directories is there.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    for each in path.rglob("*"):
        if each.exists() and not (
            each.is_file() or each.is_dir()
        ):  # a pipe would be waited for, and every other model with it
            raise DataError("is neither a file nor a directory; a model has nothing else", path=str(each))
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((path / "saved_model.pb").read_bytes())
    # One for training or for a TPU may lie beside it, as TensorFlow 1 exports them.
    graphs = message.meta_graphs
    if not graphs:
        raise DataError("holds no model: it is empty, or not all of it is there", path=str(path / "saved_model.pb"))
    serving = [each for each in graphs if list(each.meta_info_def.tags) == ["serve"]]
    graph, tags = (serving[0], ["serve"]) if serving else (graphs[0], None)
    definitions = {name: each for name, each in graph.signature_def.items() if not name.startswith("__")}
    parsed = {name: parsed_inputs(graph, each) for name, each in definitions.items()}
    return tf.saved_model.load(str(path), tags=tags), definitions, parsed
