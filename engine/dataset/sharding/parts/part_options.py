"""Into which parts a data set is cut, and by what: checked before anything is read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError

__all__ = ["DEFAULT_FRACTIONS", "PartKeys", "PartOptions", "check_fractions", "check_part_name", "parse_fractions"]

DEFAULT_FRACTIONS = {"train": 0.8, "eval": 0.2}
# A directory of this name is made in the output: nothing that leads out of it, or that readers of directories skip.
_NAME = re.compile(r"[^\W_][\w.\-]*")


def check_part_name(name: Any) -> None:
    """Raises ConfigError unless a part has a plain name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} names a part; it takes letters, digits, '_', '-' and '.', beginning with a letter or digit, such as train"
        )


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Raises ConfigError unless the fractions have plain names, are positive and sum to 1."""
    for name in fractions:
        check_part_name(name)
    shares = list(fractions.values())
    numbers = all(isinstance(share, int | float) and not isinstance(share, bool) and share > 0 for share in shares)
    # Compared so that a NaN is refused, too.
    if not shares or not numbers or not abs(sum(shares) - 1) <= 1e-9:
        raise ConfigError(
            f"fractions are {dict(fractions)}; they take positive shares that sum to 1, such as train=0.8,eval=0.2"
        )


def parse_fractions(text: str) -> dict[str, float]:
    """Returns the fractions of a text such as "train=0.8,eval=0.2".

    Raises:
        ConfigError: it is not one, or names a part twice.
    """
    found: dict[str, float] = {}
    for word in text.split(","):
        name, equals, share = word.partition("=")
        try:
            value = float(share)
        except ValueError:
            equals = ""
        if not equals:
            raise ConfigError(f"fractions are {text!r}; they take NAME=SHARE,NAME=SHARE such as train=0.8,eval=0.2")
        if name in found:
            raise ConfigError(f"fractions are {text!r}: part {name!r} is there twice")
        found[name] = value
    check_fractions(found)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartKeys:
    """What records are split by beside keys and shares: the one list of these options and their defaults, not checked yet.

    Args:
        stratify_by: column whose values each part has in the same shares, as near as whole records allow; with `split_by` as near as
            whole keys allow, and the part of a key then depends on the other records.
        split_time: column of dates, times or numbers that is compared with `eval_from` and `test_from`.
        eval_from: first date, time or number of the part "eval"; earlier ones are "train".
        test_from: first one of a third part, "test".
        seed: another seed draws other records or keys.
        label: column whose values' shares are counted in each part; None takes `stratify_by`.
    """

    stratify_by: str | None = None
    split_time: str | None = None
    eval_from: Any = None
    test_from: Any = None
    seed: int = 0
    label: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartOptions(PartKeys):
    """How records are split into parts; without any of these there is one part.

    Args:
        fractions: part name to share of the records (or of the keys); the shares sum to 1. Alone: records are drawn at random.
        split_by: key columns; records with equal keys stay together, whatever file they are in. Fractions are train=0.8,
            eval=0.2 where none are given.
        stratify_by, split_time, eval_from, test_from, seed, label: see `PartKeys`.

    Raises:
        ConfigError: options that do not go together.
    """

    fractions: Mapping[str, float] | None = None
    split_by: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.split_by, str):
            raise ConfigError(f"split_by is {self.split_by!r}; it takes a list of columns")
        object.__setattr__(self, "split_by", tuple(self.split_by))
        ways = [name for name in ("split_by", "stratify_by", "split_time") if getattr(self, name)]
        if self.split_time and len(ways) > 1:
            raise ConfigError(
                f"{' and '.join(ways)} are given; a data set that is split by time is not split otherwise"
            )
        if self.split_time:
            if self.fractions:
                raise ConfigError(
                    f"fractions={self.fractions!r} are given beside split_time={self.split_time!r}; eval_from and test_from say where "
                    "parts begin"
                )
            if self.eval_from is None:
                raise ConfigError(
                    f"split_time={self.split_time!r} needs eval_from: the first date, time or number of the part eval"
                )
        elif self.eval_from is not None or self.test_from is not None:
            raise ConfigError(
                f"eval_from={self.eval_from!r} and test_from={self.test_from!r} need split_time: the column that they are compared with"
            )
        if self.fractions is not None:
            check_fractions(self.fractions)
        elif self.split_by or self.stratify_by:
            object.__setattr__(self, "fractions", dict(DEFAULT_FRACTIONS))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts; ("",) where there is one."""
        if self.split_time:
            return ("train", "eval") if self.test_from is None else ("train", "eval", "test")
        return tuple(self.fractions) if self.fractions else ("",)

    @property
    def label_column(self) -> str | None:
        """The column whose values are counted in each part."""
        return self.label or self.stratify_by
