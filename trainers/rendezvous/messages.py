"""Messages between the supervisors of a group, checked by type before anyone acts on them; `json_lines` carries them.

Members say `join`, `beat`, `exited` and `leave`; the rendezvous orders `start`, `stop`, `done`, `failed`, and beats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainers.rendezvous.json_lines import BadMessage

__all__ = [
    "Beat",
    "Exited",
    "Join",
    "Leave",
    "MemberMessage",
    "Order",
    "member_message",
    "order",
]

_ORDERS = ("start", "stop", "done", "failed", "beat")
_INT_LIMIT = 1 << 53  # what JSON's numbers hold exactly everywhere


@dataclass(frozen=True)
class Join:
    """A member has no child and waits for a start."""

    rank: int
    size: int
    run_id: str
    generation: int


@dataclass(frozen=True)
class Beat:
    """A member is alive; its child has made `step` and has committed `committed`, where known."""

    step: int | None = None
    committed: int | None = None


@dataclass(frozen=True)
class Exited:
    """The child of a member has ended."""

    generation: int
    code: int
    reason: str


@dataclass(frozen=True)
class Leave:
    """A member goes, without being at fault."""

    reason: str


@dataclass(frozen=True)
class Order:
    """What the rendezvous wants of a member: `do` is start, stop, done, failed or beat."""

    do: str
    generation: int = 0
    reason: str = ""
    code: int = 1


MemberMessage = Join | Beat | Exited | Leave


def member_message(value: Mapping[str, Any]) -> MemberMessage:
    """Returns what a member says.

    Raises:
        BadMessage: an unknown kind, a field that is missing or of the wrong type.
    """
    kind = value.get("is")
    reader = _MEMBER_MESSAGES.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise BadMessage(f"unknown message {_shown(kind)}; expected one of {', '.join(_MEMBER_MESSAGES)}")
    return reader(value)


def order(value: Mapping[str, Any]) -> Order:
    """Returns what the rendezvous orders.

    Raises:
        BadMessage: an unknown order, a field that is missing or of the wrong type.
    """
    do = value.get("do")
    if do not in _ORDERS:
        raise BadMessage(f"unknown order {_shown(do)}; expected one of {', '.join(_ORDERS)}")
    return Order(
        do,
        generation=_whole(value, "generation", 0) if do == "start" else 0,
        reason=_text(value, "reason") if do in ("stop", "failed") else "",
        code=_whole(value, "code", 0, 255) if "code" in value else 1,
    )


def _join(value: Mapping[str, Any]) -> Join:
    return Join(
        rank=_whole(value, "rank", 0),
        size=_whole(value, "size", 0),
        run_id=_text(value, "run_id"),
        # A generation counts lives of the group; a larger one would be no count but an attack on the counter.
        generation=_whole(value, "generation", 0, 1_000_000),
    )


def _beat(value: Mapping[str, Any]) -> Beat:
    return Beat(**{key: _whole(value, key, -1) for key in ("step", "committed") if value.get(key) is not None})


def _exited(value: Mapping[str, Any]) -> Exited:
    return Exited(_whole(value, "generation", 0), _whole(value, "code", -255, 255), _text(value, "reason"))


def _leave(value: Mapping[str, Any]) -> Leave:
    return Leave(_text(value, "reason"))


_MEMBER_MESSAGES: dict[str, Callable[[Mapping[str, Any]], MemberMessage]] = {
    "join": _join,
    "beat": _beat,
    "exited": _exited,
    "leave": _leave,
}


def _whole(value: Mapping[str, Any], key: str, least: int, most: int = _INT_LIMIT) -> int:
    found = value.get(key)
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
        raise BadMessage(f"{key} = {_shown(found)}; expected a whole number from {least} to {most}")
    return found


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        raise BadMessage(f"{key} = {_shown(found)}; expected a text")
    return found


def _shown(value: Any) -> str:
    # Whole numbers of thousands of digits cannot even be printed (sys.set_int_max_str_digits).
    return repr(value)[:60] if not isinstance(value, (int, list, dict)) else f"a {type(value).__name__}"
