"""Where pods may run."""

from __future__ import annotations

from dataclasses import dataclass

from engine.core.errors import ConfigError

__all__ = ["Toleration"]

_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True, kw_only=True)
class Toleration:
    """Lets pods run on nodes with a taint.

    Attributes:
        key: key of the taint; empty with operator "Exists" means every taint.
        operator: "Equal" (to value) or "Exists".
        value: value of the taint.
        effect: "NoSchedule", "PreferNoSchedule", "NoExecute", or empty for all three.

    Raises:
        ConfigError: a combination that Kubernetes refuses.
    """

    key: str = ""
    operator: str = "Exists"
    value: str = ""
    effect: str = ""

    def __post_init__(self) -> None:
        if self.operator not in ("Equal", "Exists"):
            raise ConfigError(f"toleration operator: got {self.operator!r}; expected 'Equal' or 'Exists'")
        if self.operator == "Exists" and self.value:
            raise ConfigError(f"toleration of {self.key!r}: operator 'Exists' takes no value, seen {self.value!r}")
        if self.operator == "Equal" and not self.key:
            raise ConfigError(f"toleration with operator 'Equal' needs a key for its value {self.value!r}")
        if self.effect not in _EFFECTS:
            raise ConfigError(
                f"toleration effect: got {self.effect!r}; expected one of {', '.join(map(repr, _EFFECTS))}"
            )
