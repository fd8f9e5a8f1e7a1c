"""How list features of various lengths are padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.core.configs import check_types, convert, require

__all__ = ["PadList", "as_pad_lists"]


@dataclass(frozen=True, kw_only=True)
class PadList:
    """How a list feature becomes a dense tensor [b, length] beside its mask, the feature NAME_mask, bool [b, length].

    Args:
        length: values a record has at most; longer lists are cut.
        keep: "first" or "last" values of a list that is cut.
        value: what fills the rest.
        buckets: smaller lengths; a batch is padded to the smallest that holds its longest list, not always to `length`.
    """

    length: int
    keep: str = "first"
    value: int | float | str = 0
    buckets: Sequence[int] = ()

    def __post_init__(self) -> None:
        check_types(self)
        require(self.length >= 1, "length", self.length, "at least 1")
        require(self.keep in ("first", "last"), "keep", self.keep, "'first' or 'last'")
        fit = all(1 <= size < self.length for size in self.buckets)
        require(fit, "buckets", self.buckets, f"each at least 1 and less than length={self.length}")


def as_pad_lists(pad: Mapping[str, Any]) -> dict[str, PadList]:
    """Returns list feature to its `PadList`, of mappings too, as JSON and TOML have them.

    Raises:
        ConfigError: a value that is neither, or one that `PadList` refuses.
    """
    return dict(convert(Mapping[str, PadList], pad, "pad"))
