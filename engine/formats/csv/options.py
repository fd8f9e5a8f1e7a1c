"""How CSV is written, as a user says it; every key is the same in Python, on the command line and in a pipeline's [ingest]."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from engine.core.errors import ConfigError
from engine.core.text_encoding import is_encoding

__all__ = ["COLUMN_TYPES", "MISSING_MARKERS", "CsvDialect", "CsvOptions"]

COLUMN_TYPES = ("int64", "float32", "string")
# What pandas and pyarrow take for "missing"; here only in columns whose other values are numbers.
MISSING_MARKERS = frozenset(
    [
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "n/a",
        "nan",
        "null",
    ]
)
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_QUOTES = {"double": '"', "single": "'", "none": "", "": ""}
_ESCAPES = {"backslash": "\\", "none": "", "": ""}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsvDialect:
    r"""How CSV is written, as a user says it: the one list of the keys and their defaults, not checked yet.

    Args:
        delimiter: between values: one ASCII character, or "tab", "\t", "comma", "semicolon", "pipe", "space"; None takes a
            tab for .tsv and .tab, "|" for .psv, and a comma otherwise.
        encoding: of the text, as Python names it, such as "latin-1", "cp1252" or "utf-16". What does not decode is an error.
        header: whether the first row that is not blank holds the names of the columns; None: yes, unless column_names are given.
        column_names: names of the columns, in the file's order, in place of its header where it has one. Without either
            they are f0, f1, ...
        skip_rows: lines before the header (or before the first record) that are left out.
        quote: character around values: one ASCII character, or "double", "single", "none".
        escape: character that makes the next one a part of the value, whatever that is: one ASCII character, or "backslash", "none".
            Two quotes inside quotes stay one. Text of null_values such as "\\N" is compared as it is written.
        null_values: texts, unquoted, that mean "missing" in every column, and no others do. None: NA, NULL, nan and the like
            mean it in columns of numbers and are text in columns of text. An empty value is always missing.
    """

    delimiter: str | None = None
    encoding: str = "utf-8"
    header: bool | None = None
    column_names: tuple[str, ...] | None = None
    skip_rows: int = 0
    quote: str = '"'
    escape: str = ""
    null_values: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsvOptions(CsvDialect):
    """How CSV is written and read: the keys of a dialect, which `[ingest]` has too, and declared types.

    Args:
        delimiter, encoding, header, column_names, skip_rows, quote, escape, null_values: see `CsvDialect`.
        column_types: name to "int64", "float32" or "string": a value that does not fit is an error. The type of every other
            column is inferred from all its values.

    Raises:
        ConfigError: a value that cannot work.
    """

    column_types: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            object.__setattr__(self, "delimiter", _character("delimiter", self.delimiter, _DELIMITERS))
        object.__setattr__(self, "quote", _character("quote", self.quote, _QUOTES))
        object.__setattr__(self, "escape", _character("escape", self.escape, _ESCAPES))
        for key in ("column_names", "null_values"):
            value = getattr(self, key)
            if isinstance(value, str):
                raise ConfigError(f"{key} is {value!r}; it takes a list of texts")
            if value is not None:
                object.__setattr__(self, key, tuple(value))
        if not is_encoding(self.encoding):
            raise ConfigError(
                f"unknown encoding {self.encoding!r}; use a Python codec name such as utf-8, latin-1, cp1252 or utf-16"
            )
        if self.quote and self.quote == self.delimiter:
            raise ConfigError(f"quote and delimiter are both {self.quote!r}; they must differ")
        if self.escape and self.escape in (self.delimiter, self.quote):
            other = "quote" if self.escape == self.quote else "delimiter"
            advice = "; two quotes inside quotes are one without it" if other == "quote" else ""
            raise ConfigError(f"escape and {other} are both {self.escape!r}; they must differ{advice}")
        if self.skip_rows < 0:
            raise ConfigError(f"skip_rows is {self.skip_rows}; it takes 0 or more lines")
        if self.column_names is not None:
            _check_names(self.column_names)
        for name, kind in self.column_types.items():
            if kind not in COLUMN_TYPES:
                raise ConfigError(f"type {kind!r} of column {name!r}: allowed are {', '.join(COLUMN_TYPES)}")

    def differing(self) -> list[str]:
        """Returns the names of the options that are not at their defaults."""
        default = CsvOptions()
        names = [field.name for field in dataclasses.fields(self)]
        return [name for name in names if getattr(self, name) != getattr(default, name)]

    @property
    def has_header(self) -> bool:
        """Whether the files begin with a row of names."""
        return self.column_names is None if self.header is None else self.header

    @property
    def markers(self) -> frozenset[str]:
        """The texts that mean "missing" among numbers alone."""
        return MISSING_MARKERS if self.null_values is None else frozenset()


def _character(key: str, value: str, names: Mapping[str, str]) -> str:
    found = names.get(value, value)
    if value not in names and (len(found) != 1 or not found.isascii() or found in "\r\n\0"):
        words = ", ".join(repr(name) for name in names if name)
        raise ConfigError(f"{key} is {value!r}; it takes one ASCII character, or one of {words}")
    return found


def _check_names(names: tuple[str, ...]) -> None:
    if not names:
        raise ConfigError("column_names is empty; it takes a name for each column")
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise ConfigError(f"column_names has {sorted(twice)[0]!r} twice; each column needs a name of its own")
