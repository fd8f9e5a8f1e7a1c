"""How remote objects are read: time-outs, retries, read-ahead, local cache."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from engine.core.environment import REMOTE
from engine.core.errors import ConfigError

__all__ = ["RemoteOptions", "current_options", "use_options"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteOptions:
    """Settings of remote access; each is also read from the environment as `FULLPASS_REMOTE_<NAME>`, e.g.
    `FULLPASS_REMOTE_CACHE_DIR`, so that workers of a cluster job get them without code.

    Args:
        attempts: tries of one request, the first included; at least 1.
        backoff_s: pause before the second try; doubled for each further one (with jitter), at most `backoff_max_s`.
        backoff_max_s: longest pause between two tries.
        request_timeout_s: seconds a request may stay silent before it counts as failed.
        block_bytes: size of one range request. 8 MiB amortises the 20–100 ms a request to an object store costs.
        read_ahead_blocks: blocks fetched ahead of a sequential reader, in parallel; 0 turns read-ahead off.
        cache_dir: local directory for blocks already read, or None for no cache.
        cache_bytes: bound on that directory's size; the blocks used longest ago go first.
    """

    attempts: int = REMOTE["attempts"].default
    backoff_s: float = REMOTE["backoff_s"].default
    backoff_max_s: float = REMOTE["backoff_max_s"].default
    request_timeout_s: float = REMOTE["request_timeout_s"].default
    block_bytes: int = REMOTE["block_bytes"].default
    read_ahead_blocks: int = REMOTE["read_ahead_blocks"].default
    cache_dir: str | None = REMOTE["cache_dir"].default
    cache_bytes: int = REMOTE["cache_bytes"].default

    def __post_init__(self) -> None:
        for name, least in (("attempts", 1), ("block_bytes", 4096), ("read_ahead_blocks", 0), ("cache_bytes", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"remote option {name} is {getattr(self, name)}; it must be at least {least}")
        if self.cache_dir is not None and "://" in self.cache_dir:
            raise ConfigError(f"remote option cache_dir is {self.cache_dir!r}; it must be a directory of this machine")
        for name in ("backoff_s", "backoff_max_s", "request_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"remote option {name} is {getattr(self, name)}; it must be a number of seconds above 0"
                )

    @staticmethod
    def from_environment() -> RemoteOptions:
        """Returns the defaults with what the environment sets.

        Raises:
            ConfigError: a variable that does not hold a number where one is needed.
        """
        return RemoteOptions(**{name: variable.read() for name, variable in REMOTE.items()})


_override: RemoteOptions | None = None


def current_options() -> RemoteOptions:
    """Returns the options in force: those of `use_options`, else those of the environment."""
    return _override or RemoteOptions.from_environment()


@contextlib.contextmanager
def use_options(options: RemoteOptions) -> Iterator[RemoteOptions]:
    """Puts options in force for this process while the block runs. Files opened inside keep them."""
    global _override
    before, _override = _override, options
    try:
        yield options
    finally:
        _override = before
