"""TFX's Transform executor as a module of its own, in which `tft_beam` is `transforms.beam`.

TFX's executor has no place to give it another analysis. Its code is run once more under this module's name, where what it calls
`tft_beam` is ours: TFX's own module stays as it is, for everybody else in the process, and Beam finds the classes by their name here.
"""

from __future__ import annotations

import contextvars
import importlib.util
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import tensorflow_transform.beam as _theirs
from tensorflow_transform.beam import analysis_graph_builder as _their_builder

import transforms.beam as _ours
from engine.core.errors import ConfigError
from transforms.beam.with_cache import keys_to_read
from transforms.tft.versions import private

__all__ = ["Executor"]

_SOURCE = "tfx.components.transform.executor"
_config: contextvars.ContextVar[Any] = contextvars.ContextVar("transform_input")


def _cache_entry_keys(preprocessing_fn: Any, specs: Any, dataset_keys: Collection[Any], compat_v1: bool = False) -> Any:
    """Returns the entries of the cache that an analysis uses, as TFT's function of this purpose does."""
    found = None if compat_v1 else keys_to_read(preprocessing_fn, _config.get(), dataset_keys, lambda *_: False)
    if found is None:
        return _their_builder.get_analysis_cache_entry_keys(preprocessing_fn, specs, dataset_keys, compat_v1)
    return found[1]


def _dataset_keys(
    preprocessing_fn: Any, specs: Any, dataset_keys: Collection[Any], cache: Any, compat_v1: bool = False
) -> Any:
    """Returns the data sets that an analysis must read, as TFT's function of this purpose does."""

    def cached(dataset_key: Any, entry: bytes) -> bool:
        return dataset_key in cache and cache[dataset_key].get(entry) is not None

    found = None if compat_v1 else keys_to_read(preprocessing_fn, _config.get(), dataset_keys, cached)
    if found is None:
        return _their_builder.get_analysis_dataset_keys(preprocessing_fn, specs, dataset_keys, cache, compat_v1)
    return found[0]


def _namespace() -> SimpleNamespace:
    builder = SimpleNamespace(get_analysis_cache_entry_keys=_cache_entry_keys, get_analysis_dataset_keys=_dataset_keys)
    ours = {name: getattr(_ours, name) for name in _ours.__all__}
    return SimpleNamespace(**{**vars(_theirs), **ours, "analysis_graph_builder": builder})


def _their_code() -> Any:
    spec = importlib.util.find_spec(_SOURCE)
    code = spec.loader.get_code(_SOURCE) if spec is not None and spec.loader is not None else None  # type: ignore[attr-defined]
    if code is None or "tft_beam" not in code.co_names:
        raise ConfigError(f"{_SOURCE} of the installed TFX does not call tft_beam; install tfx>=1.21,<1.22")
    return code


exec(_their_code(), globals())  # noqa: S102 - TFX's own code
tft_beam = _namespace()
_Processor: Any = globals()["TransformProcessor"]
Executor: Any = globals()["Executor"]


class _OptimizeRun(private(_Processor, "_OptimizeRun", "tfx")):  # type: ignore[misc]
    """Knows the data's configuration while it asks for keys: default values and shapes are parts of ours."""

    def expand(self, pipeline: Any) -> Any:
        token = _config.set(self._analyze_data_list[0].tfxio.TensorAdapterConfig())
        try:
            return super().expand(pipeline)
        finally:
            _config.reset(token)


setattr(_Processor, "_OptimizeRun", _OptimizeRun)  # noqa: B010 - of our copy of the class
