"""`analyze_spans`: an analysis over spans that are given as data sets of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError
from engine.storage.uris import require_local
from transforms.analyze import analyze
from transforms.cache.cache import CachingRunner

__all__ = ["analyze_spans"]


def analyze_spans(
    spans: Mapping[str, Any],
    preprocessing_fn: Callable[..., Any],
    out: str,
    cache_dir: str | os.PathLike[str],
    runner: Any = "local",
    runner_options: Sequence[str] = (),
    **options: Any,
) -> Any:
    """Returns the report of `analyze` over all spans, after reading only those that the cache does not hold.

    Args:
        spans: `engine.Dataset` by name of the span, e.g. "2026-11-23"; all of one schema.
        preprocessing_fn: as in `analyze`.
        out: as in `analyze`.
        cache_dir: local directory of the cache, one file a span; made where missing.
        runner: as in `analyze`.
        runner_options: as in `analyze`.
        options: further arguments of `analyze`.

    Raises:
        ConfigError: for no spans, names that are not file names, and spans of different schemas.
    """
    from engine import Dataset
    from transforms.runners import make_runner

    directory = require_local("cache_dir", cache_dir)
    if not spans:
        raise ConfigError(f"spans: got {spans!r}; expected at least one span")
    first = next(iter(spans.values()))
    for name in spans:
        if not re.fullmatch(r"[\w.=-]+", name) or name.startswith("."):
            raise ConfigError(f"the name of a span may have letters, digits and _ . = -, got {name!r}")
    paths = [path for ds in spans.values() for path in ds.paths]
    if len(set(paths)) != len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ConfigError(f"{twice} is in two spans; each file belongs to one")
    alike = all(ds.schema.equals(first.schema) for ds in spans.values())
    # A column may have nulls in one span and none in another: then the data set as a whole says what it is.
    whole = Dataset.open(paths, feature_spec=first.feature_spec() if alike else None)
    backend = CachingRunner(make_runner(runner, runner_options), directory, {n: d.paths for n, d in spans.items()})
    return analyze(whole, preprocessing_fn, out, runner=backend, **options)
