"""Every environment variable that Fullpass reads or sets: name, type, default, meaning. docs/environment.md shows this table."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from engine.core.errors import ConfigError

__all__ = [
    "BENCH_MACHINE",
    "CLUSTER",
    "DEBUG",
    "GENERATION",
    "GROUP_SECRET_FILE",
    "INDEX",
    "OWN_PORTS",
    "PROGRESS",
    "REMOTE",
    "RENDEZVOUS",
    "RUN_ID",
    "STATE_DIR",
    "SUPERVISOR",
    "VARIABLES",
    "VERBOSE",
    "VOCABULARY_MEMORY_BYTES",
    "Variable",
]

T = TypeVar("T")
_WORDS = {int: "a whole number", float: "a number", bool: "0 or 1", str: "a text"}


@dataclasses.dataclass(frozen=True)
class Variable(Generic[T]):
    """One environment variable.

    Attributes:
        name: of the variable.
        kind: type of its value: str, int, float or bool ("0" or "1").
        default: value where it is not set or empty.
        meaning: what it does, one sentence.
        internal: set by Fullpass for its own processes; users leave it alone.
    """

    name: str
    kind: type[Any]
    default: T
    meaning: str
    internal: bool = False

    def read(self, environ: Mapping[str, str] | None = None) -> T:
        """Returns the value of its type, the default where the variable is not set or empty.

        Raises:
            ConfigError: it holds something else; names the variable, the value and what it takes.
        """
        text = (os.environ if environ is None else environ).get(self.name, "")
        if not text:
            return self.default
        try:
            if self.kind is bool:
                return {"0": False, "1": True}[text]  # type: ignore[return-value]
            return self.kind(text)  # type: ignore[no-any-return]
        except (ValueError, KeyError):
            raise ConfigError(f"{self.name}: got {text!r}; expected {_WORDS[self.kind]}") from None


PROGRESS = Variable("FULLPASS_PROGRESS", bool, True, "0 silences progress bars and lines, as `--quiet` does.")
DEBUG = Variable("FULLPASS_DEBUG", bool, False, "1 shows tracebacks and all that TensorFlow writes, as `--debug` does.")
VERBOSE = Variable("FULLPASS_VERBOSE", bool, False, "1 shows more lines of what is done, as `--verbose` does.")
BENCH_MACHINE: Variable[str | None] = Variable(
    "FULLPASS_BENCH_MACHINE", str, None, "Folder of `benchmarks/results` for this machine's figures; else its processor, cores and GPUs."
)  # fmt: skip
STATE_DIR: Variable[str | None] = Variable(
    "FULLPASS_STATE_DIR", str, None, "Local directory with what is known of submitted jobs; else `fullpass` in the user's state directory."
)  # fmt: skip
VOCABULARY_MEMORY_BYTES = Variable(
    "FULLPASS_VOCABULARY_MEMORY_BYTES", int, 256 << 20,
    "Bytes that all vocabularies of a process hold before they go to disk; merging holds about four times as much for a moment.",
)  # fmt: skip

REMOTE: dict[str, Variable[Any]] = {
    name.lower(): Variable(f"FULLPASS_REMOTE_{name}", kind, default, meaning)
    for name, kind, default, meaning in (
        ("ATTEMPTS", int, 6, "Tries of one request to a store, the first included."),
        ("BACKOFF_S", float, 0.2, "Seconds before the second try; doubled for each further one, with jitter."),
        ("BACKOFF_MAX_S", float, 10.0, "Longest pause between two tries, in seconds."),
        ("REQUEST_TIMEOUT_S", float, 30.0, "Seconds that a request may stay silent before it counts as failed."),
        ("BLOCK_BYTES", int, 8 << 20, "Bytes of one range request."),
        ("READ_AHEAD_BLOCKS", int, 3, "Blocks fetched ahead of a sequential reader, in parallel; 0 turns that off."),
        ("CACHE_DIR", str, None, "Local directory for blocks already read, shared by processes; none without it."),
        ("CACHE_BYTES", int, 20 << 30, "Bound on that directory; blocks used longest ago go first."),
    )
}

RENDEZVOUS = Variable("FULLPASS_RENDEZVOUS", str, "", "host:port where the supervisors of a group meet.", internal=True)
RUN_ID = Variable("FULLPASS_RUN_ID", str, "", "Equal in all members of a group.", internal=True)
INDEX: Variable[int | None] = Variable("FULLPASS_INDEX", int, None, "A pod's index in its job.", internal=True)
CLUSTER = Variable("FULLPASS_CLUSTER", str, "", "JSON: role to the addresses of its members.", internal=True)
SUPERVISOR = Variable(
    "FULLPASS_SUPERVISOR", str, "", "Socket of the supervisor of this training process.", internal=True
)
GROUP_SECRET_FILE = Variable(
    "FULLPASS_GROUP_SECRET_FILE", str, "", "File with the secret by which the supervisors of a group know each other.", internal=True
)  # fmt: skip
OWN_PORTS = Variable(
    "FULLPASS_OWN_PORTS", str, "", "Ports that only this machine and user may reach, or `all`.", internal=True
)
GENERATION = Variable("FULLPASS_GENERATION", int, 0, "How often the group has been started anew.", internal=True)

VARIABLES: tuple[Variable[Any], ...] = (
    PROGRESS,
    DEBUG,
    VERBOSE,
    STATE_DIR,
    BENCH_MACHINE,
    VOCABULARY_MEMORY_BYTES,
    *REMOTE.values(),
    RENDEZVOUS,
    RUN_ID,
    INDEX,
    CLUSTER,
    SUPERVISOR,
    GENERATION,
    GROUP_SECRET_FILE,
    OWN_PORTS,
)
