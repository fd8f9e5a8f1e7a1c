"""The TOML reader of this Python: the standard library's from 3.11 on, tomli before."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
    from tomllib import TOMLDecodeError
else:
    import tomli as tomllib
    from tomli import TOMLDecodeError

__all__ = ["TOMLDecodeError", "loads"]


def loads(text: str) -> dict[str, Any]:
    """Returns the tables of a TOML text.

    Raises:
        TOMLDecodeError: it is not TOML, is nested too deeply, or holds a number of thousands of digits or a day that is none.
    """
    try:
        return tomllib.loads(text)
    except TOMLDecodeError:
        raise
    except RecursionError:
        raise TOMLDecodeError("it is nested too deeply") from None
    except ValueError as error:  # of Python's own int and date
        raise TOMLDecodeError(str(error).partition(";")[0]) from None
