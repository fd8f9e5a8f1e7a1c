"""What the Kubernetes API refused, in words: which verb on what, which quota, which field."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from cluster.launchers.base import ConnectionLost, JobNotFound, LauncherError

__all__ = ["AlreadyThere", "api_errors", "explain"]

_QUOTA = re.compile(
    r"exceeded quota: (?P<quota>\S+), requested: (?P<asked>\S+), used: (?P<used>\S+), limited: (?P<limit>\S+)"
)
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<what>[^"]*)"(?: in API group "(?P<group>[^"]*)")?'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)


class AlreadyThere(LauncherError):
    """An object of this name exists."""


@contextlib.contextmanager
def api_errors(doing: str, needs: str = "") -> Iterator[None]:
    """Turns errors of the client into LauncherError, JobNotFound or ConnectionLost.

    Args:
        doing: what is being done, e.g. "create Job clicks".
        needs: what the cluster must have installed for it.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if not error.status or error.status in (429, 500, 502, 503, 504):
            said = explain(error.status or 0, error.body or error.reason or "", doing)
            raise ConnectionLost(f"{said} (the API answered {error.status})") from error
        message = explain(error.status, error.body or error.reason or "", doing, needs)
        if error.status == 409 and '"AlreadyExists"' in str(error.body):
            raise AlreadyThere(message) from error
        raise (JobNotFound if error.status == 404 and not needs else LauncherError)(message) from error
    except (HTTPError, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConnectionLost(f"cannot {doing}: no connection to the Kubernetes API: {reason}") from error


def explain(status: int, body: str | bytes, doing: str, needs: str = "") -> str:
    """Returns a sentence for an answer of the API.

    Args:
        status: HTTP status.
        body: of the answer: a Status object as JSON, or text.
        doing: what was asked, e.g. "create Job clicks".
        needs: what the cluster must have installed for it.
    """
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    reply: dict[str, Any] = {}
    with contextlib.suppress(json.JSONDecodeError):
        loaded = json.loads(text)
        reply = loaded if isinstance(loaded, dict) else {}
    message = str(reply.get("message") or text).strip()
    if status == 401:
        return (
            f"cannot {doing}: the cluster does not accept these credentials; log in again or choose another --context"
        )
    if quota := quota_exceeded(message):
        return f"cannot {doing}: {quota}"
    if status == 403 and (match := _FORBIDDEN.search(message)):
        group = f".{match['group']}" if match["group"] else ""
        where = f" in namespace {match['namespace']}" if match["namespace"] else ""
        return (
            f"cannot {doing}: user {match['user']!r} may not {match['verb']} {match['what']}{group}{where}; "
            "ask for a Role with that verb (k8s/base/rbac.yaml has it)"
        )
    if status == 404 and needs and not reply.get("details", {}).get("name"):
        return f"cannot {doing}: this cluster does not know it; install {needs}, or use kind 'job', which needs nothing"
    if status == 409 and reply.get("reason") == "AlreadyExists":
        return f"cannot {doing}: it is there already; cancel it first, or take another name"
    causes = reply.get("details", {}).get("causes") or []
    if status == 422 and causes:
        fields = "; ".join(f"{c.get('field')}: {c.get('message')}" for c in causes)
        return f"cannot {doing}: the cluster refuses {fields}"
    return f"cannot {doing}: {message or status}"


def quota_exceeded(message: str) -> str:
    """Returns a sentence where a message tells of an exceeded quota, else nothing."""
    match = _QUOTA.search(message)
    if not match:
        return ""
    return (
        f"quota {match['quota']} is exceeded: asked for {match['asked']}, {match['used']} is in use, the limit is {match['limit']}; "
        "ask for less, wait for other jobs, or have the quota raised"
    )
