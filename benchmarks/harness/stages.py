"""Where the time of our stages goes: stacks of all threads, looked at some hundred times a second, as flame graphs have them.

A native call that has let go of Python's lock is seen as the line that waits for it, so its time is the caller's. Threads that wait for
others are left out, as are those that ran before the action began, which do something else (a server's, a heartbeat's); so are the
frames of other libraries, but for the outermost one below ours, by its library's name.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["note_stages", "stages_of"]

_EVERY_S = 0.002
_OURS = ("engine", "transforms", "trainers", "cluster")
_WAITING = ("threading", "queue", "selectors", "concurrent", "multiprocessing", "subprocess")
_LEAST_SHARE = 0.005  # what takes less is left out


def note_stages(benchmark: Any, action: Callable[[], Any]) -> None:
    """Runs an action once more and notes its stages, of which `fullpass bench report` draws a flame graph.

    Args:
        benchmark: pytest-benchmark's fixture.
        action: does our work once; it has run before.
    """
    benchmark.extra_info["stages"] = stages_of(action)


def stages_of(action: Callable[[], Any]) -> dict[str, float]:
    """Returns the seconds that each stage itself took, by the names from the outermost stage to it with `;` between.

    Args:
        action: is run once.
    """
    seen: dict[str, int] = {}
    done, begun = threading.Event(), threading.Event()
    main = threading.get_ident()
    foreign = [each for each in threading.enumerate() if each.ident != main]

    def look() -> None:
        foreign.append(threading.current_thread())
        begun.set()
        while not done.wait(_EVERY_S):
            # An ident serves again when its thread has ended, so who is still alive is asked anew.
            others = {each.ident for each in foreign if each.is_alive()}
            for thread, frame in sys._current_frames().items():
                path = None if thread in others else _path(frame, thread == main)
                if path:
                    seen[path] = seen.get(path, 0) + 1

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    begun.wait()
    start = time.perf_counter()
    try:
        action()
    finally:
        took = time.perf_counter() - start
        done.set()
        watcher.join()
    total = sum(seen.values())
    # Of threads side by side there are more looks than the clock has seconds for: shares of the whole stay what they are.
    return {
        path: float(f"{took * count / total:.3g}")
        for path, count in sorted(seen.items(), key=lambda each: -each[1])
        if count >= _LEAST_SHARE * total
    }


def _path(frame: FrameType | None, main: bool) -> str:
    """Returns a stack's stages; nothing for a thread that waits, or in which nothing of ours runs."""
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    tops = [_module(each).partition(".")[0] for each in frames]
    ours = [at for at, top in enumerate(tops) if top in _OURS]
    waits = tops[0] in _WAITING
    if not ours or (waits and not main):
        return ""
    names: list[str] = []
    # From the outermost of ours in to the library that the innermost calls, whatever that calls.
    for at in range(ours[-1], max(ours[0] - 1, 0) - 1, -1):
        if tops[at] in _OURS:
            name = f"{_module(frames[at]).rpartition('.')[2]}.{frames[at].f_code.co_name.strip('<>')}"
        else:
            name = "waiting" if waits else tops[at]
        if names[-1:] != [name]:
            names.append(name)
    return ";".join(names)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
