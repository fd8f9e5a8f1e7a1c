"""What a transform graph was traced for, and a data set's features fitted to it.

Files are not all alike: a column has nulls in one part of the data and none in another, and is a VarLenFeature there and a
FixedLenFeature here. The graph says which it takes; the data is read that way or refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError
from transforms.batches.placeholders import FeatureLayout

__all__ = ["check_outputs", "fit_layouts"]


def fit_layouts(layouts: Mapping[str, FeatureLayout], inputs: Mapping[str, Any]) -> dict[str, FeatureLayout]:
    """Returns the layouts as the graph takes them; features that it does not know are left out.

    Args:
        layouts: of the data set's features.
        inputs: of the graph: tensors or type specs.

    Raises:
        ConfigError: for a feature of another type or kind than the graph's.
    """
    return {name: _fit(layout, inputs[name]) for name, layout in layouts.items() if name in inputs}


def check_outputs(loader: Any, fed: Mapping[str, Any], wanted: Sequence[str]) -> None:
    """Refuses data that lacks a feature which an output needs.

    Args:
        loader: TFT's `SavedModelLoader`.
        fed: features that the data has.
        wanted: outputs.

    Raises:
        ConfigError: with the missing features and the outputs.
    """
    from transforms.tft.loaded_transform import inputs_of, outputs_without

    missing = sorted(set(inputs_of(loader)) - set(fed))
    if not missing:
        return
    possible = outputs_without(loader, missing)
    lost = [name for name in wanted if name not in possible]
    if lost:
        raise ConfigError(
            f"the data has no feature {', '.join(map(repr, missing))}, which the transform graph needs for "
            f"{', '.join(map(repr, lost))}; it has {', '.join(sorted(fed)) or 'none that the graph knows'}"
        )


def _fit(layout: FeatureLayout, wanted: Any) -> FeatureLayout:
    dtype = "object" if wanted.dtype.name == "string" else wanted.dtype.name
    if layout.dtype != dtype:
        raise _other(layout, f"{_name(layout.dtype)} in the data and {_name(dtype)} in the transform graph")
    shape = wanted.shape.as_list()[1:] if wanted.shape.rank is not None else []
    if hasattr(wanted, "dense_shape") or type(wanted).__name__ == "SparseTensorSpec":
        return _sparse(layout, shape)
    if hasattr(wanted, "row_splits_dtype") or hasattr(wanted, "row_splits"):
        return _ragged(layout, wanted)
    if layout.kind == "dense" and list(layout.shape) == shape:
        return layout
    if layout.kind in ("dense", "sparse") and None not in shape:
        return dataclasses.replace(layout, kind="dense", shape=tuple(shape))
    raise _other(layout, f"{layout.kind} in the data and dense in the transform graph")


def _sparse(layout: FeatureLayout, shape: Sequence[int | None]) -> FeatureLayout:
    if layout.kind == "coordinates":
        if list(shape) == list(layout.shape):
            return layout
        raise _other(layout, f"of size {list(layout.shape)} in the data and {list(shape)} in the transform graph")
    if layout.kind == "sparse" or (layout.kind == "dense" and len(layout.shape) <= 1):
        return dataclasses.replace(layout, kind="sparse", shape=())
    raise _other(layout, f"{layout.kind} in the data and sparse in the transform graph")


def _ragged(layout: FeatureLayout, wanted: Any) -> FeatureLayout:
    if layout.kind == "ragged":
        return layout
    rank = getattr(wanted, "ragged_rank", 1)
    if layout.kind != "sparse" or rank != 1:
        raise _other(layout, f"{layout.kind} in the data and ragged in the transform graph")
    splits = getattr(wanted, "row_splits_dtype", None) or wanted.row_splits.dtype
    return dataclasses.replace(layout, kind="ragged", splits_dtype=splits.name)


def _other(layout: FeatureLayout, difference: str) -> ConfigError:
    return ConfigError(
        f"feature {layout.name!r} is {difference}: open the data set with the feature spec that the graph was analyzed with"
    )


def _name(dtype: str) -> str:
    return "string" if dtype == "object" else dtype
