"""The fields of objects that `vars` does not show: those in slots, and those of classes written in C."""

from __future__ import annotations

import copyreg
import sys
import types
from typing import Any

__all__ = ["is_native", "pickled", "slots_of"]

_HEAP = 1 << 9  # flag of a type that was made while Python runs, as classes are
_IMMUTABLE = 1 << 8  # of one that nobody can change, as many in C are
_WORD_BYTES = 8


def is_native(kind: type) -> bool:
    """Returns whether a class is written in C, so that its objects have fields that Python does not show."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    compiled = kind.__module__ != "__main__" and (file is None or not file.endswith((".py", ".pyc")))
    # Python's own classes are an object with a dictionary, weak references and slots, of a word each. TensorFlow's tensors are larger.
    room = object.__basicsize__ + _WORD_BYTES * (len(slots_of(kind)) + 2)
    return compiled or not kind.__flags__ & _HEAP or bool(kind.__flags__ & _IMMUTABLE) or kind.__basicsize__ > room


def pickled(value: Any) -> list[Any] | None:
    """Returns what pickle would keep of an object, or None where pickle does not take it."""
    try:
        by_type = copyreg.dispatch_table.get(type(value))  # patterns of `re`, say
        reduced = by_type(value) if by_type is not None else value.__reduce_ex__(2)
    except Exception:
        return None
    if isinstance(reduced, str):  # a name under which its module has it
        return [reduced]
    return [*reduced[:3], *(list(each) for each in reduced[3:5] if each is not None)]


def slots_of(kind: type) -> list[str]:
    """Returns the names of the slots of a class and its bases.

    Types in C publish places within them (`__dictoffset__`) as members, too; what stands there is an address.
    """
    return sorted(
        name
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and not (name.startswith("__") and name.endswith("offset__"))
    )
