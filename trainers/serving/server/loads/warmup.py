"""Requests that a version is asked before it takes over: those saved with it and those recorded of clients, else an empty one."""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import ConfigError
from trainers.export.feature_names import LENGTHS_SUFFIX
from trainers.export.samples import WARMUP_FILE
from trainers.serving.server.errors import InvalidRequest
from trainers.serving.server.signatures import Signature, TensorSpec, examples_of

__all__ = ["RECORDED", "warm_up"]

RECORDED = "served."  # before the names of what a server adds to a row that it records
_LOG = logging.getLogger(__name__)
_MOST = 1000  # TensorFlow Serving's limit of requests; of recorded ones as many rows
_MOST_LOOKED_AT = (
    50 * _MOST
)  # recorded ones of all models: one that was asked seldom must not keep a server from its start
# In bytes, too: a row may be an image.
_MOST_BYTES_LOOKED_AT = 256 << 20
_MOST_BYTES = 64 << 20  # of the rows that are in memory together
_STEP = 32  # rows of a recorded request that are asked together: the requests of clients wait for no more
_Request = tuple[str, dict[str, Any]]


def warm_up(
    signatures: Mapping[str, Signature],
    path: Path,
    recorded: str | None = None,
    model: str = "",
    names: Mapping[str, str] | None = None,
) -> int:
    """Runs requests of a version and returns how many there were.

    Memory is planned, functions are compiled, and a broken graph shows before a request meets it.

    Args:
        signatures: of the version, by name.
        path: its directory, which may have requests saved with it.
        recorded: file or directory of requests recorded by a server; those that this version cannot answer are logged.
        model: whose recorded requests are asked.
        names: of features by those of their tensors, where the two differ.

    Raises:
        Exception: a request that was saved with the version cannot be answered by it. One without examples, or with examples for a
            signature that takes none, is logged and not asked.
    """
    asked = _ask_saved(signatures, path)
    if recorded is not None:
        asked += _ask_recorded(signatures, Path(recorded), model, names or {})
    default = signatures.get("serving_default")
    if not asked and default is not None and default.examples_input is not None:
        default.run({default.examples_input: np.empty(0, object)})
    return asked


def _ask_saved(signatures: Mapping[str, Signature], path: Path) -> int:
    """Asks what was saved with the version, and returns how many requests were answered."""
    asked, left_out = 0, []
    for name, tensors in _saved(path):
        if isinstance(tensors, InvalidRequest):
            left_out.append(str(tensors))
        elif name in signatures:
            if _is_of_examples(tensors) and signatures[name].examples_input is None:
                left_out.append(f"signature {name!r} takes no examples")
            else:
                _ask(signatures[name], tensors)
                asked += 1
    if left_out:
        _LOG.warning("%s: %d requests saved with the version are not asked: %s", path, len(left_out), left_out[0])
    return asked


def _is_of_examples(tensors: Mapping[str, Any]) -> bool:
    return list(tensors) == [""]


def _ask(signature: Signature, tensors: Mapping[str, Any]) -> None:
    if _is_of_examples(tensors):
        if signature.examples_input is None:
            raise ConfigError(f"signature {signature.name!r} takes no examples")
        tensors = {signature.examples_input: tensors[""]}
    arrays, _ = signature.checked(tensors, 1 << 20)
    signature.run(arrays)


def _saved(path: Path) -> Iterator[tuple[str, Any]]:
    """The requests saved with a version, by signature; an error in the place of one without examples."""
    file = path / WARMUP_FILE
    if file.is_file():
        for number, record in enumerate(_records(file)):
            if number == _MOST:
                break
            try:
                yield from _of_log(record)
            except InvalidRequest as error:
                yield "", error


def _records(file: Path) -> Iterator[bytes]:
    import tensorflow as tf

    yield from tf.data.TFRecordDataset(str(file)).as_numpy_iterator()


def _of_log(record: bytes, model: str | None = None) -> Iterator[_Request]:
    """The requests of a PredictionLog, where one is given for this model alone.

    None without tensorflow-serving-api, which a program with a LiveModel need not have.
    """
    import tensorflow as tf

    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        return
    log = prediction_log_pb2.PredictionLog.FromString(record)
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        if model is not None and request.model_spec.name not in ("", model):
            return
        tensors = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        yield request.model_spec.signature_name or "serving_default", tensors
    elif kind in ("classify_log", "regress_log", "multi_inference_log"):
        request = getattr(log, kind).request
        for each in request.tasks if kind == "multi_inference_log" else (request,):
            if model is None or each.model_spec.name in ("", model):
                yield each.model_spec.signature_name or "serving_default", {"": _strings(examples_of(request.input))}


def _ask_recorded(signatures: Mapping[str, Signature], place: Path, model: str, names: Mapping[str, str]) -> int:
    """Asks what was recorded, the newest first, and returns how many requests were answered."""
    asked, refused, why = 0, 0, ""
    for wanted, tensors in _recorded(signatures, place, model, names):
        try:
            if isinstance(tensors, Exception):
                raise tensors
            _ask(signatures[wanted], tensors)
            asked += 1
        except Exception as error:  # of another model, or damaged: what was recorded must hinder no version
            refused, why = refused + 1, why or f"{type(error).__name__}: {error}"
    if refused or not asked:
        why = why or f"no request for model {model!r} is there"
        _LOG.warning(
            "%s: %d requests were asked before the version is served, %d could not be: %s", place, asked, refused, why
        )
    return asked


def _recorded(
    signatures: Mapping[str, Signature], place: Path, model: str, names: Mapping[str, str]
) -> Iterator[tuple[str, Any]]:
    """The requests of a file or directory, by signature; an error in the place of one that cannot be read."""
    rows: dict[str, list[Any]] = defaultdict(list)
    found, looked_at, size = 0, 0, 0
    for record in itertools.islice(_newest(place), _MOST_LOOKED_AT):
        looked_at += 0 if isinstance(record, Exception) else len(record)
        try:
            if isinstance(record, Exception):
                raise record
            example = _example_of(record)
            if example is None:
                logged = [*_of_log(record, model)]
                found += bool(logged)
                yield from ((name, tensors) for name, tensors in logged if name in signatures)
            elif (row := _row_of(example, model)) is not None:
                found += 1
                size += len(record)
                rows[row].append(example)
        except Exception as error:  # damaged, or something else: the others are asked
            found += 1
            yield "", error
        if found == _MOST or size >= _MOST_BYTES or looked_at >= _MOST_BYTES_LOOKED_AT:
            break
    for name, examples in rows.items():
        if name in signatures:
            # One by one and many: both kinds of batches that clients make.
            for first, last in [(0, 1), *((at, at + _STEP) for at in range(0, len(examples), _STEP))]:
                yield name, _tensors_of(signatures[name], examples[first:last], names)


def _newest(place: Path) -> Iterator[bytes | Exception]:
    """The records of a file or directory, those of the newest shard first; an error in the place of what cannot be read."""
    try:
        # The recorder's names begin with the time.
        files = sorted(place.glob("*.tfrecord"), reverse=True) if place.is_dir() else [place] if place.exists() else []
    except OSError as error:  # it may not be looked at
        yield error
        return
    for file in files:
        try:
            yield from _records(file)
        except Exception as error:  # a damaged shard, or a file of something else: the others are read
            yield error


def _example_of(record: bytes) -> Any:
    """The row that a server recorded; None where the record is something else, as a PredictionLog."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        example = tf.train.Example.FromString(record)
    except DecodeError:
        return None
    return example if f"{RECORDED}model" in example.features.feature else None


def _row_of(example: Any, model: str) -> str | None:
    """The signature that a recorded row asked of the model, and takes off what the server added; None for another model's."""
    feature = example.features.feature
    if list(feature[f"{RECORDED}model"].bytes_list.value) != [model.encode()]:
        return None
    said: list[bytes] = list(feature[f"{RECORDED}signature"].bytes_list.value) or [b"serving_default"]
    for name in [each for each in feature if each.startswith(RECORDED)]:
        del feature[name]
    return said[0].decode(errors="replace")


def _tensors_of(signature: Signature, examples: Sequence[Any], names: Mapping[str, str]) -> dict[str, Any] | Exception:
    """The inputs of a signature for recorded rows: serialized examples, or a column for each tensor."""
    if signature.examples_input is not None:
        return {"": _strings(example.SerializeToString() for example in examples)}
    tensors: dict[str, Any] = {}
    try:
        for name, spec in signature.inputs.items():
            whole = name.removesuffix(LENGTHS_SUFFIX)
            if whole != name and whole in signature.inputs:
                continue
            rows = [_values(example, names.get(name, name), spec) for example in examples]
            flat = [value for row in rows for value in row]
            lengths = signature.inputs.get(name + LENGTHS_SUFFIX)
            column = _strings(flat) if spec.is_string else np.array(flat, spec.dtype)
            if lengths is not None:
                tensors[name] = column
                tensors[name + LENGTHS_SUFFIX] = np.array([len(row) for row in rows], lengths.dtype)
            else:
                sizes = [-1 if size is None else size for size in (spec.shape or (None,))[1:]]
                tensors[name] = column.reshape(len(rows), *sizes)
    except Exception as error:  # a shape that a row does not say, a number beyond the tensor's type
        return error
    return tensors


def _values(example: Any, feature: str, spec: TensorSpec) -> Sequence[Any]:
    found = example.features.feature[feature]
    if spec.is_string:
        return list(found.bytes_list.value)
    return list(found.float_list.value if spec.dtype.kind == "f" else found.int64_list.value)


def _strings(values: Iterable[bytes]) -> np.ndarray:
    """NumPy would cut the zeros at the ends of bytes."""
    return np.array([*values, None], object)[:-1]
