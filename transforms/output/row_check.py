"""Whether a preprocessing_fn returns one row a record: its graph is run on the first records before it is written.

Only outputs whose graph could change the number of rows are run: element by element nothing can, and loading and running a wide graph
takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transforms.tracing.user_function import UserFunction

__all__ = ["SAMPLE_ROWS", "Sample", "check_rows", "outputs_to_check", "rows_of"]

SAMPLE_ROWS = 32
# Operations that give as many rows as their inputs have.
_KEEPING = """
Abs Add AddV2 AsString BoostedTreesBucketize Bucketize Cast Ceil Cos DivNoNan Equal Exp Expm1 Floor FloorDiv FloorMod Greater
GreaterEqual Identity IsFinite IsInf IsNan Less LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr LookupTableFindV2 Maximum
Minimum Mul Neg NotEqual OnesLike Pow RealDiv Reciprocal RegexFullMatch RegexReplace Relu Round Rsqrt Select SelectV2 Sigmoid
Sign Sin Softplus Sqrt Square SquaredDifference StaticRegexFullMatch StaticRegexReplace StringJoin StringLength StringLower
StringStrip StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Sub Substr Tanh TruncateDiv ZerosLike
"""
_KEEPS_ROWS = frozenset(_KEEPING.split())
_NO_ROWS = frozenset({"Const", "Placeholder", "PlaceholderWithDefault", "NoOp"})

Sample = tuple[Mapping[str, Any], int]
"""The first records of a data set as tensors by feature, and their number."""


def outputs_to_check(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> list[str]:
    """Returns the outputs of a traced graph that could have another number of rows than the records.

    Args:
        inputs: placeholders by feature.
        outputs: tensors by feature.
    """
    import tensorflow as tf

    fed = {tensor.op.name for tensor in tf.nest.flatten(dict(inputs), expand_composites=True)}
    return [
        name for name, value in outputs.items() if not _keeps_rows(tf.nest.flatten(value, expand_composites=True), fed)
    ]


def _keeps_rows(tensors: list[Any], fed: set[str]) -> bool:
    waiting = [tensor.op for tensor in tensors]
    seen: set[str] = set()
    while waiting:
        operation = waiting.pop()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        if operation.type in _NO_ROWS:
            continue
        if operation.type not in _KEEPS_ROWS:
            return False
        waiting.extend(tensor.op for tensor in operation.inputs if tensor.shape.rank != 0)  # a scalar fits any rows
    return bool(seen & fed)


def rows_of(value: Any) -> int | None:
    """Returns the number of rows of an eager tensor of any kind; None for a scalar."""
    if hasattr(value, "dense_shape"):
        return int(value.dense_shape[0])
    if hasattr(value, "row_splits"):
        return int(value.nrows())
    return int(value.shape[0]) if len(value.shape) else None


def check_rows(outputs: Mapping[str, Any], rows: int, function: UserFunction, traced: Mapping[str, Any]) -> None:
    """Refuses outputs of another number of rows.

    Args:
        outputs: eager tensors by feature.
        rows: records that they were made of.
        function: the user's.
        traced: tensors by feature of the traced graph, for the line that made an output.

    Raises:
        ConfigError: with the line that made the output.
    """
    for name, value in outputs.items():
        found = rows_of(value)
        if found != rows:
            raise function.refuse(
                f"returned output {name!r} with {found} rows for {rows} records: each output needs one row a record; drop records "
                "before the analysis, or mark them with a weight of 0",
                traced.get(name),
            )
