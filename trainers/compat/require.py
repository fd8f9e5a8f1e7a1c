"""Says at import, by name, that a library no longer has what Fullpass takes from its inside."""

from __future__ import annotations

from typing import Any

from engine.core.errors import ConfigError

__all__ = ["require", "require_assigned"]


def require(library: str, version: str, owner: Any, *names: str, use: str) -> None:
    """Raises a ConfigError unless the class or module has all of these names.

    Args:
        library: distribution, for the message.
        version: its version here.
        owner: class or module.
        names: attributes.
        use: versions that have them, e.g. ">=3.12,<3.16".

    Raises:
        ConfigError: a name is missing.
    """
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        raise ConfigError(f"{library} {version} has no {owner.__name__}.{missing[0]}; install {library}{use}")


def require_assigned(library: str, version: str, owner: type, *names: str, use: str) -> None:
    """Raises a ConfigError unless some method of the class or of one of its bases assigns or reads these attributes.

    An attribute that only instances have cannot be looked up on the class; making an instance to look at would change
    Keras's counters of automatic names. The names that the compiled methods use say as much.

    Args: as `require`.

    Raises:
        ConfigError: a name is nowhere used.
    """
    used: set[str] = set()
    for kind in owner.__mro__:
        for member in vars(kind).values():
            member = getattr(member, "fget", None) or getattr(member, "__func__", member)
            member = getattr(member, "__wrapped__", member)
            used.update(getattr(getattr(member, "__code__", None), "co_names", ()))
    missing = [name for name in names if name not in used and not hasattr(owner, name)]
    if missing:
        raise ConfigError(f"{library} {version} has no {owner.__name__}.{missing[0]}; install {library}{use}")
