"""What accumulators must know of TFT's combiners, which keep it in private fields."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from transforms.tft.versions import private

__all__ = [
    "ApproximateVocabularyFacts",
    "MomentFacts",
    "SumFacts",
    "approximate_vocabulary_facts",
    "has_weights",
    "l_moments_dtype",
    "moment_facts",
    "num_features",
    "sum_facts",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SumFacts:
    """A NumPy combiner: whether it sums, and the dtypes of its results by name."""

    is_sum: bool
    dtypes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MomentFacts:
    """A combiner of means and variances.

    Attributes:
        plain_variance: it computes a variance, without weights.
        dtype: of its results, by name.
    """

    plain_variance: bool
    dtype: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApproximateVocabularyFacts:
    """A sketch of frequent tokens: how many it keeps, and the dtype of its input by TensorFlow's name."""

    top_k: int
    input_dtype: str


def sum_facts(combiner: Any) -> SumFacts:
    """Returns the facts of a `NumPyCombiner`; of any other combiner, that it does not sum."""
    function = getattr(combiner, "_fn", None)
    if function is None:
        return SumFacts(is_sum=False, dtypes=())
    dtypes = tuple(np.dtype(each).name for each in private(combiner, "_output_dtypes"))
    return SumFacts(is_sum=getattr(function, "func", None) is np.sum, dtypes=dtypes)


def moment_facts(combiner: Any) -> MomentFacts:
    """Returns the facts of a `WeightedMeanAndVarCombiner`."""
    plain = bool(private(combiner, "_compute_variance")) and not private(combiner, "_compute_weighted")
    return MomentFacts(plain_variance=plain, dtype=np.dtype(private(combiner, "_output_numpy_dtype")).name)


def l_moments_dtype(combiner: Any) -> str:
    """Returns the dtype of the results of an L-moments combiner, by name."""
    return str(np.dtype(private(combiner, "_output_numpy_dtype")).name)


def has_weights(combiner: Any) -> bool:
    """Returns whether a `QuantilesCombiner` takes weights."""
    return bool(private(combiner, "_has_weights"))


def num_features(combiner: Any) -> int:
    """Returns the number of features whose quantiles a `QuantilesCombiner` finds together."""
    return int(private(combiner, "_num_features"))


def approximate_vocabulary_facts(combiner: Any) -> ApproximateVocabularyFacts:
    """Returns the facts of TFT's combiner of approximate vocabularies."""
    import tensorflow as tf

    dtype = tf.dtypes.as_dtype(private(combiner, "_input_dtype")).name
    return ApproximateVocabularyFacts(top_k=private(combiner, "_top_k"), input_dtype=dtype)
