"""Kubernetes quantities: "500m", "2Gi", "1.5"."""

from __future__ import annotations

import re
from decimal import Decimal

from engine.core.errors import ConfigError

__all__ = ["format_bytes", "parse_quantity"]

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_SUFFIX: dict[str, Decimal] = {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
_SUFFIX |= {s: Decimal(1000) ** i for i, s in enumerate("kMGTPE", 1)}
_SUFFIX |= {f"{s}i": Decimal(1024) ** i for i, s in enumerate("KMGTPE", 1)}
_FORM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:([eE]\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)")


def parse_quantity(text: str, key: str) -> Decimal:
    """Returns the number that a quantity stands for.

    Args:
        text: the quantity, e.g. "500m" or "2Gi".
        key: setting it belongs to, for the message.

    Raises:
        ConfigError: it is not a quantity that Kubernetes accepts.
    """
    match = _FORM.fullmatch(text)
    if not match:
        raise ConfigError(f"{key}: got {text!r}; expected a Kubernetes quantity, e.g. '4', '500m', '8Gi'")
    number, exponent, suffix = match.groups()
    return Decimal(number + exponent) if exponent else Decimal(number) * _SUFFIX[suffix or ""]


def format_bytes(count: float) -> str:
    """Returns a count of bytes in the largest binary unit that leaves a number of at least one, e.g. "1.5Gi"."""
    for power, unit in reversed(list(enumerate(("Ki", "Mi", "Gi", "Ti"), 1))):
        if count >= 1024**power:
            return f"{count / 1024**power:.1f}".removesuffix(".0") + unit
    return f"{int(count)} bytes"
