"""Which user of this machine is at the other end of a connection, as the kernel's table of connections shows it."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

__all__ = ["TABLES", "user_of_connection", "users_are_shown"]

_READS = 3  # the kernel writes the table piece by piece, and may leave a row out where others come and go meanwhile
TABLES = Path("/proc/net")  # where Linux says whose connections are


def users_are_shown() -> bool:
    """Returns whether the system says whose connections are: not outside Linux, nor where its table is hidden."""
    table = TABLES / "tcp"
    return table.is_file() and os.access(table, os.R_OK)


def user_of_connection(theirs: tuple[str, int], ours: tuple[str, int]) -> int | None:
    """Returns the number of the user whose socket has the address `theirs` and is connected to `ours`.

    Returns:
        None where no process of this machine has such a socket, or where the system does not say.
    """
    for name, version in (("tcp", 4), ("tcp6", 6)) * _READS:
        ends = [_row(*end, version) for end in (theirs, ours)]
        try:
            lines = (TABLES / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[1:3] == ends and fields[9] != "0":  # without an inode it is nobody's any more
                return int(fields[7])
    return None


def _row(host: str, port: int, version: int) -> str:
    """Returns an address as a row of /proc/net/tcp or tcp6 shows it: words of 32 bits in the machine's order."""
    address = ipaddress.ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    packed = address.packed if address.version == version else b"\0" * 10 + b"\xff\xff" + address.packed
    if version == 4 and len(packed) > 4:
        return ""
    words = (int.from_bytes(packed[i : i + 4], sys.byteorder) for i in range(0, len(packed), 4))
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
