"""Ports of other people's servers, kept to this machine and this user.

TensorFlow binds its gRPC ports to all interfaces and asks nobody who he is, and so do Beam's job servers. A small library, loaded
before them (`engine/native/loopback`), binds them to 127.0.0.1 and hangs up on other users.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.core.environment import OWN_PORTS
from engine.core.run_log import print_line

__all__ = ["own_ports_env"]

_ALL = "all"
_warned: set[str] = set()


def own_ports_env(ports: Iterable[int] | None, environ: Mapping[str, str], whose: str = "TensorFlow") -> dict[str, str]:
    """Returns the variables with which a process and its children keep these ports to this machine and user.

    Where that cannot be had, none are returned and a warning says so, once: the ports are open to whoever reaches the machine.

    Args:
        ports: that will be listened on; None for all that the process and its children choose.
        environ: of the process that will be started.
        whose: ports they are, for the warning.
    """
    numbers = _ALL if ports is None else ",".join(map(str, ports))
    library = _library()
    if library is None:
        _warn(whose, "" if ports is None else f" {numbers}")
        return {}
    before = environ.get("LD_PRELOAD", "")
    words = [str(library), *([before] if before and str(library) not in before else [])]
    return {"LD_PRELOAD": ":".join(words), OWN_PORTS.name: numbers}


def _library() -> Path | None:
    if not sys.platform.startswith("linux"):
        return None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).parents[1] / f"_loopback{suffix}"
        # The loader takes a space or a colon for the end of the name.
        if path.is_file() and not set(str(path)) & set(" :"):
            return path
    return None


def _warn(whose: str, ports: str) -> None:
    if whose in _warned:
        return
    _warned.add(whose)
    why = "engine/_loopback is not built here" if sys.platform.startswith("linux") else f"not on {sys.platform}"
    text = (
        f"{whose}'s ports{ports} listen on all interfaces, and who reaches them may run code as this user ({why}). "
        "Close them to other machines with a firewall, or install Fullpass from a wheel for Linux; see docs/security.md"
    )
    print_line(f"warning: {text}", sys.stderr)
