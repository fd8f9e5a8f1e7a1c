"""What a server serves and how: models, versions, batching, limits, who may connect."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from engine.core.errors import ConfigError
from engine.storage.uris import is_remote, local_path, require_local
from trainers.serving.golden import MODES

__all__ = ["BatchingConfig", "Limits", "ModelConfig", "ServeConfig", "VersionPolicy"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VersionPolicy:
    """Which versions of a directory are served, as TensorFlow Serving's `ServableVersionPolicy`.

    Attributes:
        latest: how many of the highest versions; ignored where `specific` or `all` is set.
        specific: exactly these versions.
        all: every version that is there.
    """

    latest: int = 1
    specific: tuple[int, ...] = ()
    all: bool = False

    def __post_init__(self) -> None:
        if self.latest < 1:
            raise ConfigError(f"latest: got {self.latest}; expected 1 or more versions")
        if any(number < 0 for number in self.specific):
            raise ConfigError(f"specific: got {self.specific}; expected version numbers of 0 or more")

    def wanted(self, there: list[int]) -> list[int]:
        """Returns those of the versions in a directory that are to be served, ascending."""
        if self.specific:
            return [number for number in there if number in self.specific]
        return there if self.all else there[-self.latest :]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """How requests become batches; the names are those of TensorFlow Serving's batching parameters.

    Attributes:
        max_batch_size: rows a batch; a larger request is answered in several.
        batch_timeout_micros: how long a batch that is not full waits for more while a thread is idle.
        num_batch_threads: batches that run at once in a process.
        max_enqueued_batches: batches that wait for a thread; a request beyond them is refused at once.
        allowed_batch_sizes: a batch is padded to the next of these, so that few shapes are ever run; empty pads to
            the next power of two.
        enable_batching: False runs each request as it came: for models whose answer to a row depends on the rows beside it.
    """

    max_batch_size: int = 1024
    batch_timeout_micros: int = 1000
    num_batch_threads: int = 2
    max_enqueued_batches: int = 100
    allowed_batch_sizes: tuple[int, ...] = ()
    enable_batching: bool = True

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "num_batch_threads", "max_enqueued_batches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: got {getattr(self, name)}; expected 1 or more")
        if self.batch_timeout_micros < 0:
            raise ConfigError(f"batch_timeout_micros: got {self.batch_timeout_micros}; expected 0 or more")
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            raise ConfigError(
                f"allowed_batch_sizes: got {', '.join(map(str, sizes))}; expected ascending sizes that end with "
                f"max_batch_size, {self.max_batch_size}"
            )

    def padded(self, rows: int) -> int:
        """Returns the size that a batch of so many rows is padded to."""
        for size in self.allowed_batch_sizes:
            if size >= rows:
                return size
        return min(1 << (rows - 1).bit_length(), self.max_batch_size) if rows > 1 else rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may ask for.

    Attributes:
        request_bytes: of a message or a body.
        request_rows: rows.
        in_flight: requests that a process answers at once; more are refused.
        idle_s: seconds after which a silent connection is closed. The message of a gRPC call has these, and a second for each 250,000
            of `request_bytes`.
        connection_s: seconds after which a connection of gRPC takes no new calls; clients go on on another one.
        leave_s: seconds that the calls have which are still in it then.
        memory_share: a version is refused if it is larger than this share of the memory that is free.
        load_again_s: seconds after which a version that could not be loaded is tried again, as TensorFlow Serving's
            `load_retry_interval_micros`; sooner where its files change.
    """

    request_bytes: int = 64 << 20
    request_rows: int = 65536
    in_flight: int = 10_000
    idle_s: int = 120
    connection_s: int = 1200
    leave_s: int = 600
    memory_share: float = 0.8
    load_again_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("request_bytes", "request_rows", "in_flight", "idle_s", "connection_s", "leave_s"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: got {getattr(self, name)}; expected 1 or more")
        if not self.load_again_s > 0:
            raise ConfigError(f"load_again_s: got {self.load_again_s}; expected more than 0")
        if not 0 < self.memory_share <= 1:
            raise ConfigError(f"memory_share: got {self.memory_share}; expected more than 0 and at most 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model of a server.

    Attributes:
        name: by which clients ask for it.
        directory: of numbered versions, or a URI of one.
        policy: which versions are served.
        labels: version by label, as `stable` or `canary`.
        golden: how the golden set of a version is compared at load: "exact", "close" or "off" (`trainers.serving.golden`).
        canary_share: of the requests that name neither version nor label, how many the label `canary` gets.
        warm_up: file or directory of requests that `--record` wrote, or of PredictionLogs: a version is asked those of the newest
            shards before it takes over, beside those saved with it.
    """

    name: str
    directory: str
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    canary_share: float = 0.0
    golden: str = "exact"
    warm_up: str | None = None

    def __post_init__(self) -> None:
        if self.warm_up is not None:
            require_local("warm_up", self.warm_up)
        if self.directory and not is_remote(self.directory):  # file:///models, ~/models
            object.__setattr__(self, "directory", str(local_path(self.directory)))
        if self.golden not in MODES:
            raise ConfigError(f"golden: got {self.golden!r}; expected one of {', '.join(MODES)}")
        if not self.name or any(c in self.name for c in "/: "):
            raise ConfigError(f"name of a model: got {self.name!r}; expected a word without '/', ':' and spaces")
        if not 0 <= self.canary_share <= 1:
            raise ConfigError(f"canary_share: got {self.canary_share}; expected 0 to 1")
        if self.canary_share and "canary" not in self.labels:
            raise ConfigError(
                f"canary_share={self.canary_share}: no version has the label 'canary'; expected labels with one, got {dict(self.labels)}"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Returns the model that `dataclasses.asdict` made a mapping of, also by way of JSON."""
        policy = values["policy"]
        return cls(**{**values, "policy": VersionPolicy(**{**policy, "specific": tuple(policy["specific"])})})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """A server.

    Attributes:
        models: what it serves.
        host: address that it listens on. Others than loopback need `token` or a certificate, or `open_to_all`.
        grpc_port, rest_port: 0 takes a free one, None does not listen.
        processes: that share the ports.
        poll_s: seconds between two looks at the directories of models.
        token: clients send it as `authorization: Bearer TOKEN`.
        tls_key, tls_certificate, client_ca: files in PEM; with the last one clients must have a certificate of it.
        open_to_all: anyone who reaches the port may ask.
        allow_reload: clients may change the list of models (HandleReloadConfigRequest), for all processes at once.
        drain_s: seconds that requests in flight have to end when the server stops.
        access_log_share: of the requests that are logged, one line of JSON each, on the standard error output.
        trace: URL of an OpenTelemetry collector (OTLP over HTTP), or a file for spans as JSON; None makes no spans.
        record_share: of the requests whose examples and answers are written to `record_directory`.
    """

    models: tuple[ModelConfig, ...]
    host: str = "127.0.0.1"
    grpc_port: int | None = 8500
    rest_port: int | None = 8501
    processes: int = 1
    poll_s: float = 1.0
    batching: BatchingConfig = BatchingConfig()
    limits: Limits = Limits()
    token: str | None = dataclasses.field(default=None, repr=False)
    tls_key: str | None = None
    tls_certificate: str | None = None
    client_ca: str | None = None
    open_to_all: bool = False
    allow_reload: bool = False
    drain_s: float = 30.0
    access_log_share: float = 0.0
    trace: str | None = None
    record_share: float = 0.0
    record_directory: str | None = None

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"models: got {', '.join(names) or 'none'}; expected one or more, each name once")
        if self.grpc_port is None and self.rest_port is None:
            raise ConfigError("grpc_port and rest_port are both off; expected one to listen on")
        for name in ("grpc_port", "rest_port"):
            if not 0 <= (getattr(self, name) or 0) < 1 << 16:
                raise ConfigError(f"{name}: got {getattr(self, name)}; expected 0 to 65535")
        if self.grpc_port and self.grpc_port == self.rest_port:
            raise ConfigError(f"grpc_port and rest_port are both {self.grpc_port}; expected two ports")
        if self.processes < 1:
            raise ConfigError(f"processes: got {self.processes}; expected 1 or more")
        if not 0 < self.poll_s < math.inf or not 0 <= self.drain_s < math.inf:
            raise ConfigError(
                f"poll_s {self.poll_s}, drain_s {self.drain_s}: expected seconds, more than 0 between two looks"
            )
        # No client could send another, and an empty one would be none over gRPC.
        if self.token is not None and not re.fullmatch("[!-~]+", self.token):
            raise ConfigError("token: expected one word of ASCII characters; make one by `openssl rand -hex 32`")
        if (self.tls_key is None) != (self.tls_certificate is None):
            raise ConfigError("tls_key and tls_certificate go together: give both or none")
        if self.client_ca and not self.tls_key:
            raise ConfigError(f"client_ca={str(self.client_ca)!r} needs tls_key and tls_certificate")
        if (self.record_share > 0) != (self.record_directory is not None) or not 0 <= self.record_share <= 1:
            raise ConfigError(
                f"record_share: got {self.record_share} with record_directory {self.record_directory!r}; expected a "
                "share of more than 0 and at most 1 with a directory, or neither"
            )
        if self.record_directory is not None:
            require_local("record_directory", self.record_directory)
        if not 0 <= self.access_log_share <= 1:
            raise ConfigError(f"access_log_share: got {self.access_log_share}; expected 0 to 1")
        if not (_is_loopback(self.host) or self.token or self.client_ca or self.open_to_all):
            raise ConfigError(
                f"host: got {self.host!r}, which others can reach; expected a token (--token-file) or client "
                "certificates (--client-ca), or --open-to-all where a NetworkPolicy or a proxy keeps strangers out"
            )

    def to_json(self) -> str:
        """Returns the configuration for a process of the server."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ServeConfig:
        """Returns the configuration that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["models"] = tuple(map(ModelConfig.from_mapping, values["models"]))
        batching = values["batching"]
        values["batching"] = BatchingConfig(
            **{**batching, "allowed_batch_sizes": tuple(batching["allowed_batch_sizes"])}
        )
        values["limits"] = Limits(**values["limits"])
        return cls(**values)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
