"""Trying again: which failures of a store may pass, how long to wait, what to say when they do not."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from engine.core.errors import DataError
from engine.storage.remote.options import RemoteOptions

__all__ = ["ReplacedObject", "ShortRead", "with_retries"]

T = TypeVar("T")


class ReplacedObject(OSError):
    """Another object is where one is being read."""


# These say that the request itself is wrong: trying again cannot help.
_FINAL = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    ReplacedObject,
)
# Some answers come as a plain OSError; these words in it mean the same as the classes above.
_FINAL_WORDS = (
    "AccessDenied",
    "NoSuchBucket",
    "NoSuchKey",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "Unable to locate credentials",
)


class ShortRead(OSError):
    """A store answered with fewer bytes than the range asked for holds."""


def with_retries(action: Callable[[], T], *, what: str, uri: str, options: RemoteOptions) -> T:
    """Returns what `action` returns, tried up to `options.attempts` times.

    Args:
        action: a request that may be repeated without harm.
        what: what it does, for the error, e.g. "read bytes 0 to 4095".

    Raises:
        DataError: the object is missing or forbidden, or every attempt failed; names the URI, the attempts and the last cause.
    """
    started = time.monotonic()
    for attempt in range(1, options.attempts + 1):
        try:
            return action()
        except (TypeError, AttributeError):
            raise  # a fault of this program, not of the store
        except _FINAL as error:
            raise DataError(f"cannot {what}: {_reason(error)}", path=uri) from error
        except Exception as error:  # each library has classes of its own for a broken connection
            if any(word in str(error) for word in _FINAL_WORDS):
                raise DataError(f"cannot {what}: {_reason(error)}", path=uri) from error
            if attempt == options.attempts:
                raise DataError(
                    f"cannot {what}: {attempt} attempts in {time.monotonic() - started:.1f} s failed, the last with: "
                    f"{_reason(error)}. Check the store and the network, or raise FULLPASS_REMOTE_ATTEMPTS",
                    path=uri,
                ) from error
            pause = min(options.backoff_s * 2 ** (attempt - 1), options.backoff_max_s)
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter: many readers must not come back at one instant
    raise AssertionError("unreachable")


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
