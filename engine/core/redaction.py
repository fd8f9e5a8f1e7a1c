"""Credentials in URIs and variables: they open a store, and must stay out of messages and logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

__all__ = ["HIDDEN", "is_secret_name", "redact", "redact_values"]

HIDDEN = "***"
_LEAST = 8  # characters: a shorter word may be anything
# user:password@ in front of a host. A user's name alone (hdfs://me@host) is not a secret. A password ends at the last @ of the
# authority; one whose / ? # were not escaped, which programs refuse and name, at the first @ behind them. host:8080/a@b has none,
# but the buckets of stores have no ports.
# Lengths are bounded, or long texts of data would be searched in the square of their length.
_USER = re.compile(
    r"(?P<scheme>\b(?:(?P<store>(?i:s3[an]?|gs|gcs|abfss?|adl|az|wasbs?))|[a-zA-Z][a-zA-Z0-9+.-]{0,30})://)"
    r"(?P<user>[^\s/?#@:'\"\[]{0,300}):"
    r"(?P<secret>[^\s/?#'\"]{0,2000}|(?(store)|(?!\d{1,5}[/?#]))[^\s'\"@]{0,300}(?:@[^\s/?#'\"@]{0,300})*)@"
)
# Of pyarrow's s3:// (access_key, secret_key, session_token), of signed URLs, of HTTP stores, of answers of OAuth (#access_token=).
# Whole words: author, keyword and max_tokens are none, and a key is one alone or with a word that says that it opens something.
_QUERY = re.compile(
    r"(?P<key>[?&;#](?:key|(?:[\w.%-]{0,60}[_.-])?(?:token|pwd|sig|auth|authorization)"
    r"|[\w.%-]{0,60}(?:secret|passwo?r?d|passphrase|signature|credentials?"
    r"|(?:access|account|admin|api|app|auth|client|consumer|customer|deploy|encryption|functions|hmac|kms|master|private|query"
    r"|read|secret|session|shared|signing|ssl|storage|subscription|user|write)[_.-]?key"
    r"|(?:access|api|auth|bearer|client|csrf|id|refresh|sas|security|session|user)token))(?:[_.-]?(?:id|json|value|v?\d{1,3}))?=)"
    r"(?P<secret>['\"]?[^\s&;#'\"]+)",
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
    # What follows host:/ is rather a path, which other words of a message may name.
    with_users = "@" in text  # a long text of data without one is not searched
    found = _USER.finditer(text) if with_users else ()
    users = [match["secret"] for match in found if match["store"] or not match["secret"].startswith("/")]
    repeated = {secret.strip("'\"") for secret in (*users, *(match["secret"] for match in _QUERY.finditer(text)))}
    repeated |= {unquote(secret) for secret in repeated}  # as the store's client was given it
    text = _USER.sub(rf"\g<scheme>{HIDDEN}@", text) if with_users else text
    text = _QUERY.sub(rf"\g<key>{HIDDEN}", text)
    for secret in sorted(repeated, key=len, reverse=True):  # a longer one may contain another
        if len(secret) >= _LEAST:
            text = text.replace(secret, HIDDEN)
    return text


def redact_values(value: Any) -> Any:
    """Returns a JSON value with the credentials of the URIs in its texts replaced by `***`."""
    if isinstance(value, Mapping):
        return {key: redact_values(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(each) for each in value]
    return redact(value) if isinstance(value, str) else value
