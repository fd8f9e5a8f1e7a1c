"""The secret of a group: who knows it is a member, who does not learns nothing and may order nothing.

Both sides prove that they know it (HMAC-SHA-256 over nonces of both, RFC 2104), neither sends it:

    rendezvous → member   {"is": "challenge", "nonce": S}
    member → rendezvous   {"is": "hello", "nonce": M, "proof": HMAC(secret, "member" S M)}
    rendezvous → member   {"is": "welcome", "proof": HMAC(secret, "rendezvous" S M)}
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

from engine.core.environment import GROUP_SECRET_FILE
from engine.core.errors import ConfigError

__all__ = ["SIDES", "group_secret", "is_nonce", "new_nonce", "new_secret", "proof", "proves", "write_secret"]

SIDES = ("member", "rendezvous")
_BYTES = 16
_NONCE = re.compile(f"[0-9a-f]{{{2 * _BYTES}}}", re.ASCII)


def new_secret() -> str:
    """Returns a new secret of 128 random bits, as text."""
    return secrets.token_hex(_BYTES)


def new_nonce() -> str:
    """Returns a number that is used once, as text."""
    return secrets.token_hex(_BYTES)


def is_nonce(value: object) -> TypeGuard[str]:
    """Returns whether what the other side sent is such a number: what both hash is of one form, and short."""
    return isinstance(value, str) and _NONCE.fullmatch(value) is not None


def write_secret(path: str | os.PathLike[str], secret: str) -> None:
    """Writes a secret to a file that only its owner may read; an older file is replaced."""
    temporary = f"{os.fspath(path)}.{secrets.token_hex(4)}"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")
    os.replace(temporary, path)


def group_secret(environ: Mapping[str, str]) -> bytes | None:
    """Returns the secret in the file that FULLPASS_GROUP_SECRET_FILE names, or None where the variable is not set.

    Raises:
        ConfigError: the file cannot be read, others may read it, or it holds less than 128 bits.
    """
    path = environ.get(GROUP_SECRET_FILE.name)
    if not path:
        return None
    try:
        mode, text = os.stat(path).st_mode, Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{GROUP_SECRET_FILE.name}={path}: cannot be read ({error})") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(
            f"{GROUP_SECRET_FILE.name}={path}: everyone may read it (mode {mode & 0o777:o}); chmod 600 it"
        )
    if len(text) < 2 * _BYTES:
        raise ConfigError(
            f"{GROUP_SECRET_FILE.name}={path}: holds {len(text)} characters; at least {2 * _BYTES} are needed, as "
            "`openssl rand -hex 16` writes them"
        )
    return text.encode()


def proof(secret: bytes, side: str, rendezvous_nonce: str, member_nonce: str) -> str:
    """Returns what proves that `side` ("member" or "rendezvous") knows the secret, for these two nonces."""
    assert side in SIDES
    text = "\0".join(("fullpass-group-1", side, rendezvous_nonce, member_nonce))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def proves(given: object, secret: bytes, side: str, rendezvous_nonce: str, member_nonce: str) -> bool:
    """Returns whether `given` is that proof, in a time that does not depend on where it differs."""
    expected = proof(secret, side, rendezvous_nonce, member_nonce)
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
