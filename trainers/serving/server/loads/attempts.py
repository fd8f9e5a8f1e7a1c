"""When a version that could not be loaded is tried again."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

from trainers.serving.server.loads.room import NoRoom

__all__ = ["Attempts"]

_MOST = (
    5  # tries after the first, TensorFlow Serving's `max_num_load_retries`: what is broken must not be loaded for ever
)


@dataclasses.dataclass
class _Failed:
    files: Any
    tries: int = 0
    due: float = math.inf  # on `time.monotonic`'s clock; infinite while it is loaded


class Attempts:
    """The versions of one model that were tried.

    Args:
        again_s: seconds after which one that failed is tried again, though its files are what they were: what was wrong may have been the
            machine. Or one of several processes would stay behind the others for ever.
    """

    def __init__(self, again_s: float) -> None:
        self._again_s = again_s
        self._failed: dict[int, _Failed] = {}

    def begin(self, number: int, files: Any) -> bool:
        """Returns whether a version is to be tried now.

        Args:
            number: of it.
            files: what its directory looks like; others than at the last try are tried at once.
        """
        last = self._failed.get(number)
        if last is None or last.files != files:
            last = self._failed[number] = _Failed(files)
        elif time.monotonic() < last.due or last.tries > _MOST:
            return False
        last.due = math.inf
        return True

    def failed(self, number: int, error: Exception) -> None:
        """Notes that it could not be loaded. One that there was no room for is tried as long as it is wanted: a look costs little."""
        last = self._failed.get(number)
        if last is not None:  # else its directory could not even be read, which is looked at again
            last.tries += not isinstance(error, NoRoom)
            last.due = time.monotonic() + self._again_s

    def forget(self, number: int | None = None) -> None:
        """Tries a version, or all of them, at the next look."""
        if number is None:
            self._failed.clear()
        else:
            self._failed.pop(number, None)
