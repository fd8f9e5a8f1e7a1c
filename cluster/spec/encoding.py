"""A JobSpec as JSON text and back; what is at its default is left out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from cluster.spec.job_spec import FORMAT_VERSION, JobSpec
from cluster.spec.resources import Resources
from cluster.spec.scheduling import Toleration
from cluster.spec.volumes import SecretEnv, Volume
from engine.core.errors import ConfigError

__all__ = ["from_dict", "from_json", "to_dict", "to_json"]

_LISTS = {"secrets": SecretEnv, "volumes": Volume, "tolerations": Toleration}


def to_dict(spec: JobSpec) -> dict[str, Any]:
    """Returns a JSON-able dict of the fields that are not at their defaults, with the format's version."""
    return {"version": FORMAT_VERSION, **_plain(spec)}


def to_json(spec: JobSpec) -> str:
    """Returns `to_dict` as text."""
    return json.dumps(to_dict(spec), indent=2, sort_keys=True)


def from_dict(data: Mapping[str, Any]) -> JobSpec:
    """Returns the spec of a dict from `to_dict`, or one written by hand.

    Raises:
        ConfigError: an unknown key, a newer version, or a value that JobSpec refuses.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"a job description is an object with the fields of JobSpec, seen {type(data).__name__}")
    rest = dict(data)
    version = rest.pop("version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise ConfigError(f"version = {version!r}: this Fullpass reads job descriptions of version {FORMAT_VERSION}")
    if "resources" in rest:
        rest["resources"] = _build(Resources, rest["resources"], "resources")
    if "role_resources" in rest:
        rest["role_resources"] = {
            role: _build(Resources, value, f"role_resources.{role}") for role, value in rest["role_resources"].items()
        }
    for key, cls in _LISTS.items():
        if key in rest:
            rest[key] = tuple(_build(cls, value, f"{key}[{i}]") for i, value in enumerate(rest[key]))
    return _build(JobSpec, rest, "job")


def from_json(text: str) -> JobSpec:
    """Returns the spec of a JSON text.

    Raises:
        ConfigError: the text is not JSON, or `from_dict` refuses it.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"a job description must be JSON: {error}") from error
    return from_dict(data)


def _plain(value: Any) -> dict[str, Any]:
    out = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if item != default:
            out[field.name] = _plain_item(item)
    return out


def _plain_item(item: Any) -> Any:
    if dataclasses.is_dataclass(item):
        return _plain(item)
    if isinstance(item, Mapping):
        return {key: _plain_item(value) for key, value in item.items()}
    if isinstance(item, tuple):
        return [_plain_item(value) for value in item]
    return item


def _build(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected an object, seen {data!r}")
    known = [field.name for field in dataclasses.fields(cls)]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(known)}")
    try:
        return cls(**data)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error
