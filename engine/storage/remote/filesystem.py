"""From a URI to the file system that holds it: fsspec's for object stores and most else, pyarrow's for HDFS.

S3 goes through s3fs and not through pyarrow: pyarrow 25 gives back a buffer of the length asked for, its tail never written, when
a server answers a range with fewer bytes than that. Here each answer is checked against the range.
"""

from __future__ import annotations

import functools
import os
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from engine.core.errors import ConfigError, DataError
from engine.storage.remote.options import RemoteOptions, current_options

__all__ = ["client_of", "resolve", "scheme_of", "store_of"]

_KEYS = {"access_key", "secret_key", "session_token"}
# How the variables begin by which stores' libraries find their servers and keys.
_OF_STORES = ("AWS_", "AZURE_", "GOOGLE_", "GCSFS_", "STORAGE_EMULATOR_HOST")


def scheme_of(uri: str) -> str:
    """Returns the scheme of a URI, e.g. "s3"."""
    return uri.split("://", 1)[0]


def resolve(uri: str, options: RemoteOptions | None = None) -> tuple[Any, str]:
    """Returns (pyarrow.fs.FileSystem, path inside it) of a URI.

    s3:// takes its keys from the usual places (environment, ~/.aws, instance role) and its server from `AWS_ENDPOINT_URL_S3` or
    `AWS_ENDPOINT_URL`; `?endpoint_override=…&scheme=http&region=…&anonymous=true` of a URI precedes those. hdfs:// goes
    through pyarrow; any other scheme through fsspec (gs://, abfs://, memory://, https://, …).

    Raises:
        ConfigError: a scheme that neither library knows, or whose package is not installed; names the package. Keys in a URI of s3://.
        DataError: the file system cannot be reached or refuses the keys.
    """
    options = options or current_options()
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme == "hdfs":
        return _hdfs(parts.netloc, parts.query), parts.path.rstrip("/")
    if parts.scheme == "s3":
        _check_no_keys(uri, parts.netloc, parts.query)
        filesystem = client_of("s3", _s3_settings(parts.query, options))
        return filesystem, f"{parts.netloc}{parts.path}".rstrip("/")
    path = uri.split("://", 1)[1].rstrip("/")
    if parts.scheme == "memory":
        path = "/" + path
    elif parts.scheme in ("http", "https"):
        path = uri
    return client_of(parts.scheme, (("environment", _environment()),)), path


def store_of(filesystem: Any) -> Any:
    """Returns the fsspec file system that one of `resolve` wraps; None of one that is pyarrow's own."""
    return getattr(getattr(filesystem, "handler", None), "fs", None)


@functools.lru_cache(maxsize=16)
def _hdfs(netloc: str, query: str) -> Any:
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(f"hdfs://{netloc}/" + (f"?{query}" if query else ""))[0]
    except OSError as error:
        raise DataError(f"the file system cannot be reached: {error}", path=f"hdfs://{netloc}") from error


def _check_no_keys(uri: str, netloc: str, query: str) -> None:
    """Raises ConfigError for keys in a URI, as pyarrow takes them: left out, others would open the store, or nobody's."""
    given = sorted(_KEYS & dict(parse_qsl(query)).keys())
    if "@" in netloc or given:
        raise ConfigError(
            f"{uri}: {', '.join(given) or 'what stands before the @'}: s3:// takes no keys in a URI, which end up in histories and "
            "manifests; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN), or AWS_PROFILE, and leave them out"
        )


def _s3_settings(query: str, options: RemoteOptions) -> tuple[tuple[str, Any], ...]:
    settings = dict(parse_qsl(query))
    endpoint = settings.get("endpoint_override")
    if endpoint and "://" not in endpoint:
        endpoint = f"{settings.get('scheme', 'https')}://{endpoint}"
    values = {
        "anon": settings.get("anonymous", "false").lower() in ("1", "true", "yes"),
        "endpoint_url": endpoint,
        "region": settings.get("region"),
        "timeout_s": options.request_timeout_s,
        "environment": _environment(),
    }
    return tuple(sorted(values.items()))


def _environment() -> tuple[tuple[str, str], ...]:
    """Keys and servers that come into the environment later, as in a notebook, make another client."""
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith(_OF_STORES)))


@functools.lru_cache(maxsize=64)
def client_of(scheme: str, settings: tuple[tuple[str, Any], ...]) -> Any:
    """Returns pyarrow's file system over the client of a scheme, one a process and settings.

    Raises:
        ConfigError: no file system is known for the scheme.
    """
    import fsspec
    from pyarrow import fs

    try:
        # fsspec knows clients by their arguments alone; here they are kept by the environment as well.
        store = _s3(**dict(settings)) if scheme == "s3" else fsspec.filesystem(scheme, skip_instance_cache=True)
    except ValueError as error:
        raise ConfigError(
            f"no file system is known for {scheme}://; allowed are local paths, s3, gs, hdfs and what fsspec has ({error})"
        ) from None
    except ImportError as error:
        extra = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}.get(scheme)
        hint = f"pip install 'fullpass[{extra}]'" if extra else str(error)
        raise ConfigError(f"{scheme}:// needs a package that is not installed: {hint}") from None
    # What other processes write after a listing would never be seen, nor that an object was replaced. Not all clients take this as an
    # argument.
    store.dircache.use_listings_cache = False
    return fs.PyFileSystem(fs.FSSpecHandler(store))


def _s3(
    anon: bool,
    endpoint_url: str | None,
    region: str | None,
    timeout_s: float,
    environment: tuple[tuple[str, str], ...],  # only to tell clients apart: the library reads it itself
) -> Any:
    import s3fs

    store = s3fs.S3FileSystem(
        skip_instance_cache=True,
        anon=anon,
        endpoint_url=endpoint_url,
        client_kwargs={"region_name": region} if region else {},
        # The counted, reported retries with back-off are ours; one more inside the client hides a blip at no cost.
        config_kwargs={
            "connect_timeout": timeout_s,
            "read_timeout": timeout_s,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
        },
        default_cache_type="none",
    )
    store.retries = 1
    return store
