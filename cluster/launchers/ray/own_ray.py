"""A Ray that runs for this process alone: on loopback, without a dashboard, and with a token that its owner alone may read."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.core.run_log import print_line
from engine.machine.private_files import PRIVATE, private

__all__ = ["LOCAL", "import_for_own_ray", "keep_token_private", "start_own_ray"]

LOCAL = (
    "local"  # Ray's word for a cluster of its own; None would join whatever cluster was started last on this machine
)
# Ray takes the machine's own address where it may have nodes on other machines, and listens on all interfaces then. On macOS and
# Windows it does not, and everything of it stays on loopback; this is its variable for that.
# https://github.com/ray-project/ray/issues/18730
_MORE_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def import_for_own_ray() -> Any:
    """Returns Ray, imported so that what `start_own_ray` starts listens on loopback alone.

    Raises:
        ImportError: Ray is not installed.
    """
    with _one_machine():  # nothing where it is imported already: the variable has been read then
        import ray

    return ray


@contextlib.contextmanager
def _one_machine() -> Iterator[None]:
    """Sets Ray's variable, where the program has not, for the block: what the program starts later would have no other machines, too."""
    if _MORE_MACHINES in os.environ:
        yield
        return
    os.environ[_MORE_MACHINES] = "0"
    try:
        yield
    finally:
        os.environ.pop(_MORE_MACHINES, None)


def start_own_ray(**settings: Any) -> Any:
    """Starts a Ray that ends with this process, connects to it and returns the module.

    Where the program had imported Ray before, Ray listens on all interfaces, and a warning says so.

    Args:
        settings: of `ray.init`.
    """
    ray = import_for_own_ray()
    keep_token_private()
    address = ray.util.get_node_ip_address()
    alone = ipaddress.ip_address(address).is_loopback
    if not alone:
        print_line(
            f"warning: Ray's ports listen on all interfaces, since this program had imported Ray before: whoever reaches {address} "
            "and has Ray's token may run code as this user. Close them to other machines with a firewall, or set "
            f"{_MORE_MACHINES}=0 where the program starts; see docs/security.md",
            sys.stderr,
        )
    with _one_machine() if alone else contextlib.nullcontext():  # Ray's own processes read it, too
        ray.init(address=LOCAL, include_dashboard=False, log_to_driver=False, **settings)
    return ray


def keep_token_private() -> None:
    """Makes Ray's token, ~/.ray/auth_token, before Ray does, which would let every user of the machine read it.

    Whoever has the token runs code in Ray. Where the variables RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH give another one, nothing is done.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):  # a home that cannot be written to: Ray says so itself
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            with open(path, "x", opener=private) as file:
                file.write(secrets.token_hex(32))
        except FileExistsError:
            path.chmod(PRIVATE)
