"""Sketches of tfx_bsl, written and read again."""

from __future__ import annotations

from typing import Any

from tfx_bsl.sketches import QuantilesSketch

__all__ = ["quantiles_sketch"]


def quantiles_sketch(state: bytes) -> Any:
    """Returns the sketch that gave the bytes by `__getstate__`.

    A sketch that has been initialised keeps what it holds: `__setstate__` on it is without effect, and without an error.
    """
    sketch = QuantilesSketch.__new__(QuantilesSketch)
    sketch.__setstate__(state)
    return sketch
