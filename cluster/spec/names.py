"""Names as Kubernetes takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.core.errors import ConfigError

__all__ = [
    "MAX_JOB_NAME",
    "check_annotations",
    "check_env_name",
    "check_job_name",
    "check_label",
    "check_object_name",
    "is_own_label",
]

# The longest pod name made from it is JobSet's NAME-evaluator-0-99 with a suffix of six; a host name ends at 63.
MAX_JOB_NAME = 40
_ANNOTATION_BYTES = 256 << 10  # of all keys and values together
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_job_name(name: str) -> None:
    """Refuses a name that cannot be a Service, a Job and a host name at once.

    Raises:
        ConfigError: too long, or other characters than a-z, 0-9 and '-'.
    """
    if not isinstance(name, str) or not _LABEL.fullmatch(name):
        raise ConfigError(
            f"name: got {name!r}; expected a-z, 0-9 and '-', a letter first and no '-' last, e.g. 'clicks-train-3'"
        )
    if len(name) > MAX_JOB_NAME:
        raise ConfigError(
            f"name: got {name!r}, {len(name)} characters; expected at most {MAX_JOB_NAME}, which leave room for pod names"
        )


def check_object_name(name: str, key: str) -> None:
    """Refuses what cannot be the name of a Kubernetes object (DNS subdomain).

    Raises:
        ConfigError: the name, with its key.
    """
    if not isinstance(name, str) or len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        raise ConfigError(f"{key}: got {name!r}; expected a-z, 0-9, '-' and '.', a letter or digit at both ends")


def check_label(label: str, value: str, key: str) -> None:
    """Refuses a label that Kubernetes would refuse.

    Raises:
        ConfigError: prefix, label or value, with their key.
    """
    _check_text(label, key, "label")
    _check_key(label, key, "label")
    if not isinstance(value, str) or len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
        raise ConfigError(f"{key}: the value {value!r} of {label!r} must be at most 63 of A-Z, a-z, 0-9, '-', '_', '.'")


def check_annotations(annotations: Mapping[str, str], key: str) -> None:
    """Refuses annotations that Kubernetes would refuse, or that the launcher sets.

    Args:
        annotations: key → value, which may be any text.
        key: of the setting, for errors.

    Raises:
        ConfigError: names the annotation.
    """
    total = 0
    for name, value in annotations.items():
        _check_text(name, key, "annotation")
        # Kubernetes takes capital letters in an annotation's prefix, and in a label's none.
        prefix, slash, rest = name.rpartition("/")
        _check_key(prefix.lower() + slash + rest, key, "annotation")
        if name.startswith("fullpass/"):
            raise ConfigError(f"{key}: {name} is set by the launcher")
        try:
            total += len(name.encode()) + len(value.encode())
        except (AttributeError, UnicodeEncodeError):
            raise ConfigError(f"{key}: the value {value!r:.60} of {name!r} is not a text of whole characters") from None
    if total > _ANNOTATION_BYTES:
        raise ConfigError(f"{key}: they have {total:,} bytes in all; Kubernetes takes {_ANNOTATION_BYTES:,}")


def _check_text(name: object, key: str, what: str) -> None:
    if not isinstance(name, str):
        raise ConfigError(f"{key}: {what} {name!r} is no text; put it in quotes")


def _check_key(name: str, key: str, what: str) -> None:
    prefix, slash, rest = name.rpartition("/")
    if (slash or prefix) and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        raise ConfigError(f"{key}: the prefix of {what} {name!r:.80} is not a DNS name")
    if not rest or len(rest) > 63 or not _LABEL_VALUE.fullmatch(rest):
        raise ConfigError(f"{key}: {what} {name!r:.80} must be at most 63 of A-Z, a-z, 0-9, '-', '_', '.'")


def is_own_label(label: object) -> bool:
    """Returns whether Fullpass alone sets a label: network policies, status and logs go by it.

    `fullpass/serving-client` is for whoever submits: it lets a pod ask a server for predictions (k8s/serving/base/network.yaml).
    A key of YAML that is no text is none.
    """
    if not isinstance(label, str):
        return False
    own = label.startswith("fullpass/") and label != "fullpass/serving-client"
    return own or label == "app.kubernetes.io/managed-by"


def check_env_name(name: str, key: str) -> None:
    """Refuses what cannot be the name of an environment variable.

    Raises:
        ConfigError: the name, with its key.
    """
    if not isinstance(name, str) or not _ENV.fullmatch(name):
        raise ConfigError(f"{key}: {name!r} is not the name of an environment variable (letters, digits, '_')")
