"""Files of this user alone: opened by a name at which somebody else who may write to the directory may have put something else."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from engine.core.errors import ConfigError

__all__ = ["PRIVATE", "open_own", "private"]

PRIVATE = 0o600


def private(path: str, flags: int) -> int:
    """Opens a file that its owner alone may read: `opener` of `open`.

    Raises:
        ConfigError: the name leads elsewhere; see `open_own`. Or the file is another user's, who could read what is written.
    """
    if flags & os.O_CREAT:
        with contextlib.suppress(FileExistsError):  # one that is made here is this user's, whoever NFS says made it
            return open_own(path, flags | os.O_EXCL, PRIVATE)
        if flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    descriptor = open_own(path, flags, PRIVATE)
    found = os.fstat(descriptor)
    # Some file systems know one owner (FAT, CIFS), or call root nobody (NFS): there the directory has the same.
    if found.st_uid not in (os.geteuid(), os.stat(os.path.dirname(path) or ".").st_uid):
        os.close(descriptor)
        raise ConfigError(
            f"{path}: belongs to user {found.st_uid}, and this process to user {os.geteuid()}: what is written there is for this "
            "user alone; delete it or move it away (an earlier run of another user's may have left it), or give another directory"
        )
    if stat.S_IMODE(found.st_mode) & ~PRIVATE:
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, PRIVATE)  # of a release that left it to the umask, or of somebody's `touch`
    return descriptor


def open_own(path: str, flags: int, mode: int = 0o666) -> int:
    """Opens a file that is nothing but this name: no link to another one, no pipe, no device.

    Args:
        path: its name.
        flags: of `os.open`, without O_TRUNC's effect on anything else than such a file.
        mode: of a new one.

    Raises:
        FileExistsError: O_EXCL asks for a new one, and the name is taken, by a link too.
        ConfigError: the name leads elsewhere: writing there would change a file that nobody named.
    """
    descriptor = -1
    try:
        # A pipe would wait for its reader. Truncated only once it is known what it is.
        descriptor = os.open(path, (flags & ~os.O_TRUNC) | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise ConfigError(_elsewhere(path, found))
        os.set_blocking(descriptor, True)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
        return descriptor
    except FileExistsError:  # it was to be a new one, and nothing was opened
        raise
    except OSError as error:
        if os.path.islink(path) or error.errno == errno.ENXIO:  # a pipe without a reader
            raise ConfigError(_elsewhere(path, os.lstat(path))) from error
        raise
    except ConfigError:
        os.close(descriptor)
        raise


def _elsewhere(path: str, found: os.stat_result) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFREG: "a file of several names", stat.S_IFDIR: "a directory"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "a pipe or device")
    return f"{path}: is {kind}, and not a file of its own: what is written there would go elsewhere; delete it"
