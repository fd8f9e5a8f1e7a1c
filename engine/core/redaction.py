"""Credentials in URIs and variables: they open a store, and must stay out of messages and logs."""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "is_secret_name", "redact"]

HIDDEN = "***"
_LEAST = 6  # characters: a shorter word may be anything
# user:password@ in front of a host. A user's name alone (hdfs://me@host) is not a secret.
_USER = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<user>[^\s/?#@:'\"]+):(?P<secret>[^\s/?#@'\"]*)@")
# Of pyarrow's s3:// (access_key, secret_key, session_token), of signed URLs, of HTTP stores.
_QUERY = re.compile(
    r"(?P<key>[?&;][\w.%-]*(?:key|secret|token|password|passwd|pwd|signature|sig|credential|auth)[\w.%-]*=)(?P<secret>[^\s&;#'\"]+)",
    re.I,
)
# Of variables: AWS_SECRET_ACCESS_KEY, HF_TOKEN, DB_PASSWORD, KEY; not KEYBOARD or MONKEY.
_SECRET_NAME = re.compile(
    r"secret|token|passw|passphrase|credential|private|(^|_)(key|apikey|pwd|auth|signature|cookie|dsn)(_|$|\d)", re.I
)


def is_secret_name(name: str) -> bool:
    """Returns whether a variable of this name holds a secret, by what such variables are called."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """Returns the text with the credentials of all URIs in it replaced by `***`."""
    if "://" not in text:
        return text
    # Clients repeat parts of a URI without its scheme ("Invalid bucket name KEY:SECRET@bucket").
    repeated = {match["secret"] for pattern in (_USER, _QUERY) for match in pattern.finditer(text)}
    text = _QUERY.sub(rf"\g<key>{HIDDEN}", _USER.sub(rf"\g<scheme>{HIDDEN}@", text))
    for secret in repeated:
        if len(secret) >= _LEAST:
            text = text.replace(secret, HIDDEN)
    return text
