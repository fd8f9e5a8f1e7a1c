"""What follows an accumulator: TFT's remaining operations, each a plain function that runs once in the driver.

An evaluator takes the operation definition, the values of its inputs and a context, and returns one value an
output. The value of an Accumulate operation is what its accumulator's `finish` returned.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["EVALUATORS", "EvaluationContext", "evaluator_for"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationContext:
    """What evaluators may use.

    Attributes:
        assets_dir: existing directory for the files that an evaluator writes (vocabularies); it lives until the
            transform graph is written.
        graph: the traced `tf.Graph` (reserved tokens of vocabularies are read from it).
    """

    assets_dir: str
    graph: Any


Evaluator = Callable[[Any, Sequence[Any], EvaluationContext], tuple[Any, ...]]

# Operation definition's class → "module:function".
EVALUATORS: dict[str, str] = {
    "VocabularyMerge": "transforms.finishing.vocabulary:merge",
    "VocabularyCount": "transforms.finishing.vocabulary:count",
    "VocabularyPrune": "transforms.finishing.vocabulary:prune",
    "VocabularyOrderAndWrite": "transforms.finishing.vocabulary:order_and_write",
    "ExtractVocabularyReservedTokens": "transforms.finishing.vocabulary:reserved_tokens",
    "CacheableCombineMerge": "transforms.finishing.combine:combine_merge",
    "ExtractCombineMergeOutputs": "transforms.finishing.combine:extract_outputs",
    "CacheableCombinePerKeyMerge": "transforms.finishing.combine:per_key_merge",
    "CacheableCombinePerKeyFormatKeys": "transforms.finishing.combine:format_keys",
    "CacheableCombinePerKeyFormatLarge": "transforms.finishing.combine:format_large",
    "ScaleAndFlattenPerKeyBucketBouandaries": "transforms.finishing.combine:scale_and_flatten",
    "FlattenLists": "transforms.finishing.vocabulary:flatten_lists",
}


def evaluator_for(operation: Any) -> Evaluator | None:
    """Returns the function that does the operation, or None where there is none."""
    place = EVALUATORS.get(type(operation).__name__)
    if place is None:
        return None
    module, name = place.split(":")
    evaluator: Evaluator = getattr(importlib.import_module(module), name)
    return evaluator
