"""The signatures of a loaded version: their tensors, and how requests of one are joined into a batch and parted again."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainers.export.feature_names import LENGTHS_SUFFIX
from trainers.serving.requests import well_formed
from trainers.serving.server.composites import dense_outputs
from trainers.serving.server.errors import InvalidRequest

__all__ = ["Signature", "TensorSpec", "examples_of", "signatures_of"]


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """A tensor of a signature: NumPy dtype (object for strings), TensorFlow's dtype, shape with None where any size fits."""

    dtype: np.dtype[Any]
    tf_dtype: Any
    shape: tuple[int | None, ...] | None

    @property
    def is_string(self) -> bool:
        """Whether its values are bytes."""
        return self.dtype == np.dtype(object)

    @property
    def is_column(self) -> bool:
        """Whether it has rows of one value each."""
        return self.shape == (None, 1)


@dataclasses.dataclass(frozen=True)
class Signature:
    """One signature.

    Attributes:
        name: of the signature.
        inputs, outputs: by name.
        function: what TensorFlow calls.
        method: its method name, as `tensorflow/serving/predict`.
        parsed: the inputs whose strings the model parses as tf.Examples, which must not meet its parser unseen; any other goes on as it is.
        defaults: values of inputs that a request may leave out.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    function: Any
    method: str = ""
    parsed: frozenset[str] = frozenset()
    defaults: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def examples_input(self) -> str | None:
        """The one input of serialized examples, or None."""
        if len(self.inputs) == 1:
            (name, spec), *_ = self.inputs.items()
            if name in self.parsed and (spec.shape is None or len(spec.shape) == 1):  # TensorFlow 1's may have any rank
                return name
        return None

    @property
    def has_rows(self) -> bool:
        """Whether an input's first dimension is rows: one of a fixed size is a part of the value itself."""
        return all(spec.shape is None or spec.shape[:1] == (None,) for spec in self.inputs.values())

    @functools.cached_property
    def batches(self) -> bool:
        """Whether rows of several requests may be run together: every tensor has a first dimension of any size.

        A default has rows of its own, and another size that no input has is made of the values, as the words of the longest text are:
        each request of a signature with one is run as it came.
        """
        specs = [*self.inputs.values(), *self.outputs.values()]
        rows = all(spec.shape and spec.shape[0] is None for spec in specs)
        given, made = (
            any(None in (spec.shape or ())[1:] for spec in each.values()) for each in (self.inputs, self.outputs)
        )
        return bool(self.inputs) and not self.defaults and rows and (given or not made)

    @functools.cached_property
    def _open_sizes(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Names and dimensions behind the rows whose size the signature leaves open, of inputs and of outputs."""
        given, made = (
            [
                (name, at)
                for name, spec in each.items()
                for at, size in enumerate(spec.shape or ())
                if at and size is None
            ]
            for each in (self.inputs, self.outputs)
        )
        return given, made

    def sizes_are_given(self, arrays: Mapping[str, Any], outputs: Mapping[str, np.ndarray]) -> bool:
        """Whether each size of the outputs that the signature leaves open is one of the inputs': any other may be made of the values.

        Args:
            arrays: that were run.
            outputs: of `run`.
        """
        given, made = self._open_sizes
        if not made:
            return True
        sizes = {np.shape(arrays[name])[at] for name, at in given}
        return all(name not in outputs or outputs[name].shape[at] in sizes for name, at in made)

    @property
    def pads(self) -> bool:
        """Whether a batch may be padded with copies of its first row."""
        return not any(name + LENGTHS_SUFFIX in self.inputs for name in self.inputs)

    def takes_flat(self, tensors: Mapping[str, Any]) -> bool:
        """Whether a request gives numbers where rows of one number each are asked for: `{"instances": [1.0, 2.0]}` for `[?, 1]`.

        TensorFlow Serving takes them, in its documentation's first example too, and answers numbers.
        """
        given = [np.ndim(tensors[name]) for name, spec in self.inputs.items() if spec.is_column and name in tensors]
        return bool(given) and set(given) == {1}

    def with_columns(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the inputs of a request that `takes_flat`, as rows of one number."""
        return {
            name: np.reshape(value, (-1, 1)) if name in self.inputs and self.inputs[name].is_column else value
            for name, value in tensors.items()
        }

    def without_columns(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs of such a request: numbers, where they are rows of one number."""
        return {
            name: value.reshape(-1) if name in self.outputs and self.outputs[name].is_column else value
            for name, value in outputs.items()
        }

    def checked(self, tensors: Mapping[str, Any], max_rows: int) -> tuple[dict[str, np.ndarray], int]:
        """Returns the inputs of a request as arrays of the signature's types, and its number of rows.

        Raises:
            InvalidRequest: an input is missing or unknown, or its type, shape or number of rows does not fit.
            DataError: an element of serialized examples is not a tf.Example.
        """
        left_out = {name: value for name, value in self.defaults.items() if name not in tensors}
        tensors = {**tensors, **left_out}
        if set(tensors) != set(self.inputs):
            missing, unknown = sorted(set(self.inputs) - set(tensors)), sorted(set(tensors) - set(self.inputs))
            raise InvalidRequest(
                f"signature {self.name!r}: inputs {', '.join(missing) or 'none'} missing, {', '.join(unknown) or 'none'} "
                f"unknown; expected {', '.join(sorted(self.inputs))}"
            )
        arrays = {name: self._array(name, value) for name, value in tensors.items()}
        rows = self._rows(arrays)
        if rows > max_rows:
            raise InvalidRequest(f"the request has {rows} rows; expected at most {max_rows}")
        for name in self.parsed:
            safe: np.ndarray = np.empty(arrays[name].size, object)
            safe[:] = well_formed([_as_bytes(value) for value in arrays[name].reshape(-1)])
            arrays[name] = safe.reshape(arrays[name].shape)
        return arrays, rows

    def _array(self, name: str, value: Any) -> np.ndarray:
        spec = self.inputs[name]
        # Of a list of bytes NumPy would cut the zeros at their ends.
        listed = spec.is_string and not isinstance(value, np.ndarray)
        array: np.ndarray = np.asarray(value, object if listed else None)
        if spec.is_string:
            if array.dtype.kind not in "OSU":
                raise InvalidRequest(f"input {name!r}: got {array.dtype.name}; expected strings")
            array = array.astype(object)
        elif array.dtype != spec.dtype:
            # A client's float64 for float32 would be refused by TensorFlow itself, as TensorFlow Serving does.
            raise InvalidRequest(f"input {name!r}: got {array.dtype.name}; expected {spec.dtype.name}")
        fits = spec.shape is None or (
            len(spec.shape) == array.ndim and all(want in (None, got) for want, got in zip(spec.shape, array.shape))
        )
        if not fits:
            want = "x".join("?" if size is None else str(size) for size in spec.shape or ())
            raise InvalidRequest(f"input {name!r}: got shape {list(array.shape)}; expected [{want}]")
        return array

    def _rows(self, arrays: Mapping[str, np.ndarray]) -> int:
        ragged = {name for name in arrays if name + LENGTHS_SUFFIX in arrays}
        for name in ragged:
            lengths = arrays[name + LENGTHS_SUFFIX]
            if (lengths < 0).any() or int(lengths.sum()) != arrays[name].shape[0]:
                raise InvalidRequest(
                    f"input {name + LENGTHS_SUFFIX!r} adds up to {int(lengths.sum())} values; {name!r} has {arrays[name].shape[0]}"
                )
        sizes = self._sizes(arrays)
        return max(sizes.values(), default=1)

    def _sizes(self, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
        """First sizes of the inputs that should have a row for each of the request's."""
        ragged = {name for name in arrays if name + LENGTHS_SUFFIX in arrays}
        return {name: array.shape[0] for name, array in arrays.items() if array.ndim and name not in ragged}

    def check_joins(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Refuses inputs that cannot be joined with those of other requests; run as they came, they may mean something to the model.

        Raises:
            InvalidRequest: they differ in their number of rows.
        """
        sizes = self._sizes(arrays)
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise InvalidRequest(
                f"inputs differ in their number of rows: {shown}; a model whose inputs are no rows (the parts of a ragged tensor, a "
                "query beside a list) is served with --no-enable-batching"
            )

    def _tensor(self, name: str, array: Any) -> Any:
        import tensorflow as tf

        dtype = self.inputs[name].tf_dtype
        if isinstance(array, list):
            return tf.constant(array, dtype=dtype)
        if not array.size:
            return tf.zeros(array.shape, dtype)
        return tf.constant(array.tolist() if array.dtype == object else array, dtype=dtype)

    def run(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Returns the outputs for arrays of `checked`, of one request or of several joined; strings may be in a list.

        Raises:
            InvalidRequest: TensorFlow says that a value does not fit (a feature is missing, has another type, ...).
        """
        import tensorflow as tf

        tensors = {name: self._tensor(name, array) for name, array in arrays.items()}
        try:
            outputs = self.function(**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise InvalidRequest(_what(error.message)) from None
        return {name: _array_of(value.numpy()) for name, value in dense_outputs(outputs).items()}


def examples_of(message: Any) -> list[bytes]:
    """Returns the serialized examples of an `Input` message; features of a context are in each of them.

    Raises:
        InvalidRequest: it has no examples.
    """
    kind = message.WhichOneof("kind")
    if kind is None or not getattr(message, kind).examples:
        raise InvalidRequest(
            "Input is empty. Expected one or more examples in example_list or example_list_with_context"
        )
    if kind == "example_list":
        return [example.SerializeToString() for example in message.example_list.examples]
    out = []
    for example in message.example_list_with_context.examples:
        joined = type(example)()
        joined.CopyFrom(message.example_list_with_context.context)
        joined.MergeFrom(example)  # a feature of the example's own wins: map entries replace
        out.append(joined.SerializeToString())
    return out


def _array_of(value: Any) -> np.ndarray:
    """TensorFlow gives scalars as NumPy's, and a scalar string as bytes, whose end NumPy would cut where it is zeros."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, object if isinstance(value, bytes) else None)


def _what(message: str) -> str:
    """The line of TensorFlow's message that says what is wrong; it puts where in the graph before it."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    places = ("Graph execution error", "Detected at node", "defined at", "<stack", "[[{{node", "Stack trace for")
    return next((line for line in lines if not line.startswith(places)), lines[0] if lines else "refused by the model")


def _as_bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def signatures_of(
    loaded: Any, definitions: Mapping[str, Any], parsed: Mapping[str, frozenset[str]]
) -> dict[str, Signature]:
    """Returns the signatures of what `tf.saved_model.load` returned, by name.

    Args:
        loaded: the model.
        definitions: `SignatureDef` by signature, from the model's protocol buffer.
        parsed: by signature the inputs that are parsed as tf.Examples.
    """
    import tensorflow as tf

    found = {}
    for name, function in loaded.signatures.items():
        if name.startswith("__"):
            continue
        inputs = {key: _spec(spec) for key, spec in function.structured_input_signature[1].items()}
        outputs = {key: _spec(spec) for key, spec in function.structured_outputs.items()}
        definition = definitions[name]
        defaults = {key: np.asarray(tf.make_ndarray(value)) for key, value in definition.defaults.items()}
        method, examples = definition.method_name, parsed.get(name, frozenset())
        found[name] = Signature(name, inputs, outputs, function, method, examples, defaults)
    return found


def _spec(spec: Any) -> TensorSpec:
    import tensorflow as tf

    # Of a ragged or a sparse one the parts are answered, which have no rows. Signatures of TensorFlow 1 have tensors for specs.
    in_parts = isinstance(spec, tf.RaggedTensorSpec | tf.SparseTensorSpec)
    shape = None if in_parts or spec.shape.rank is None else tuple(spec.shape.as_list())
    dtype = np.dtype(object) if spec.dtype.name == "string" else np.dtype(spec.dtype.as_numpy_dtype)
    return TensorSpec(dtype, spec.dtype, shape)
