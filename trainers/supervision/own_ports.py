"""TensorFlow's ports of a local group, kept to this machine and this user.

TensorFlow binds its gRPC ports to all interfaces and asks nobody who he is. A small library, loaded before it
(`trainers/native/loopback.c`), binds them to 127.0.0.1 and hangs up on other users.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.core.environment import OWN_PORTS

__all__ = ["own_ports_env"]

_warned = False


def own_ports_env(ports: Iterable[int], environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables with which a process and its children keep these ports to this machine and user.

    Where that cannot be had, none are returned and a warning says so, once: the ports are open to whoever reaches the machine.

    Args:
        ports: that TensorFlow will listen on.
        environ: of the process that will be started.
    """
    numbers = ",".join(map(str, ports))
    library = _library()
    if library is None:
        _warn(numbers)
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


def _warn(ports: str) -> None:
    global _warned
    if _warned:
        return
    _warned = True
    why = "trainers/_loopback is not built here" if sys.platform.startswith("linux") else f"not on {sys.platform}"
    text = (
        f"TensorFlow's ports {ports} listen on all interfaces, and who reaches them may run code as this user ({why}). "
        "Close them to other machines with a firewall, or install Fullpass from a wheel for Linux; see docs/security.md"
    )
    print(f"warning: {text}", file=sys.stderr, flush=True)
