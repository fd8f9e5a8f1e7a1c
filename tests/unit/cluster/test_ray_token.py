"""The token of a search's own Ray: its owner alone may read it, and what is there stays."""

from __future__ import annotations

import pytest

from cluster.tuning.ray_token import keep_token_private


@pytest.fixture
def token(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path / ".ray" / "auth_token"


def test_a_token_is_made_that_its_owner_alone_may_read(token):
    keep_token_private()
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text()) >= 32


def test_a_token_that_all_may_read_is_kept_and_closed(token):
    token.parent.mkdir()
    token.write_text("as Ray wrote it")
    token.chmod(0o644)
    keep_token_private()
    assert (token.read_text(), token.stat().st_mode & 0o777) == ("as Ray wrote it", 0o600)


def test_a_token_that_is_a_link_is_what_ray_reads(token):
    kept = token.parent.parent / "dotfiles"
    kept.write_text("as its owner wrote it")
    token.parent.mkdir()
    token.symlink_to(kept)
    keep_token_private()
    assert token.is_symlink() and kept.read_text() == "as its owner wrote it"


def test_a_token_from_elsewhere_is_left_to_its_owner(token, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    keep_token_private()
    assert not token.exists()
