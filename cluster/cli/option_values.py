"""What the words of options mean: pairs, shares, whole numbers; what is none of them is refused by the option's name."""

from __future__ import annotations

from engine import ConfigError

__all__ = ["number_of", "numbers_of", "pairs_of", "share_of"]


def pairs_of(option: str, words: list[str]) -> dict[str, str]:
    """Returns the NAME=VALUE words of an option as name to value.

    Raises:
        ConfigError: another word, or one name with two values.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise ConfigError(f"{option}: got {word!r}; expected NAME=VALUE")
        if found.setdefault(name, value) != value:
            raise ConfigError(f"{option}: {name!r} is both {found[name]} and {value}; expected each name once")
    return found


def share_of(option: str, word: str) -> float:
    """Returns a share.

    Raises:
        ConfigError: no number.
    """
    try:
        return float(word)
    except ValueError:
        raise ConfigError(f"{option}: got {word!r}; expected a share of more than 0 and at most 1") from None


def number_of(option: str, word: str) -> int:
    """Returns a whole number of 0 or more.

    Raises:
        ConfigError: anything else.
    """
    if not word.isdecimal():
        raise ConfigError(f"{option}: got {word!r}; expected a number")
    return int(word)


def numbers_of(option: str, words: str | None) -> tuple[int, ...]:
    """Returns whole numbers with commas between them; none for None.

    Raises:
        ConfigError: anything else.
    """
    return tuple(number_of(option, word.strip()) for word in words.split(",")) if words else ()
