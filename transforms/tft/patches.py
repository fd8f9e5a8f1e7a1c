"""The one place that replaces functions of TFT: for the thread that traces for Fullpass, and for no other.

TFT's modules are global to the process, and another thread may run plain TFT meanwhile, whose results must not change. So what is
put there only dispatches: it asks a context variable whether *this* thread traces for Fullpass, and calls TFT's own function
otherwise. A new thread begins with an empty context.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from tensorflow_transform import annotators

__all__ = ["own_object_trackers", "replaced"]

_Function = Callable[..., Any]
_Place = tuple[ModuleType, str]
_active: contextvars.ContextVar[Mapping[_Place, _Function] | None] = contextvars.ContextVar(
    "fullpass_trace", default=None
)
_originals: dict[_Place, _Function] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def replaced(module: ModuleType, wrappers: Mapping[str, Callable[[_Function], _Function]]) -> Iterator[None]:
    """Replaces functions of a module of TFT in this thread while in the context.

    Args:
        module: of TFT, which calls the functions as its attributes.
        wrappers: by the function's name: takes the function that this thread sees now and returns the one to call instead.
    """
    outer = _active.get() or {}
    functions = {}
    for name, wrap in wrappers.items():
        original = _original((module, name))
        functions[module, name] = wrap(outer.get((module, name), original))
    token = _active.set({**outer, **functions})
    try:
        yield
    finally:
        _active.reset(token)


def _original(place: _Place) -> _Function:
    """Returns TFT's own function, after putting one in its place that dispatches; once a process."""
    with _lock:
        if place not in _originals:
            original = getattr(*place)

            @functools.wraps(original)  # pickle finds it under TFT's name, as it found TFT's own
            def dispatching(*args: Any, **kwargs: Any) -> Any:
                return (_active.get() or {}).get(place, original)(*args, **kwargs)

            _originals[place] = original
            setattr(*place, dispatching)
        return _originals[place]


def own_object_trackers() -> contextlib.AbstractContextManager[None]:
    """Keeps the trackers of `tft.make_and_track_object` of this thread by themselves.

    TFT has one global tracker for the process and an assertion that there is none yet, so a trace in another thread would fail.
    """
    trackers: list[Any] = []

    @contextlib.contextmanager
    def scope(tracker: Any) -> Iterator[None]:
        trackers.append(tracker)
        try:
            yield
        finally:
            trackers.pop()

    def track(trackable: Any, name: str | None) -> None:
        trackers[-1].add_trackable_object(trackable, name)

    return replaced(annotators, {"object_tracker_scope": lambda _: scope, "track_object": lambda _: track})
