"""How remote objects are read: time-outs, retries, read-ahead, local cache."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator

from engine.core.errors import ConfigError

__all__ = ["RemoteOptions", "current_options", "use_options"]

_PREFIX = "FULLPASS_REMOTE_"


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

    attempts: int = 6
    backoff_s: float = 0.2
    backoff_max_s: float = 10.0
    request_timeout_s: float = 30.0
    block_bytes: int = 8 << 20
    read_ahead_blocks: int = 3
    cache_dir: str | None = None
    cache_bytes: int = 20 << 30

    def __post_init__(self) -> None:
        for name, least in (("attempts", 1), ("block_bytes", 4096), ("read_ahead_blocks", 0), ("cache_bytes", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"remote option {name} is {getattr(self, name)}; it must be at least {least}")
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
        values: dict[str, object] = {}
        for field in dataclasses.fields(RemoteOptions):
            text = os.environ.get(_PREFIX + field.name.upper())
            if text is None:
                continue
            kind: type = str if field.name == "cache_dir" else type(field.default)
            try:
                values[field.name] = kind(text)
            except ValueError:
                raise ConfigError(
                    f"{_PREFIX}{field.name.upper()} is {text!r}; it must be a number ({kind.__name__})"
                ) from None
        return RemoteOptions(**values)  # type: ignore[arg-type]


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
