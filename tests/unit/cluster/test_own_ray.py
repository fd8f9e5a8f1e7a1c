"""A Ray of our own: its token, which its owner alone may read, and where it listens."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cluster.launchers.ray.own_ray import keep_token_private


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


@pytest.mark.parametrize(("address", "own"), [("None", True), ("'10.1.2.3:6379'", False)])
def test_a_search_without_a_cluster_has_its_ray_on_loopback(address, own):
    """Ray decides it when it is imported: not in this process, which other tests may have had import it."""
    program = (
        "import os\n"
        "from cluster.tuning.config import SearchConfig\n"
        "from cluster.tuning.ray_tune import import_tune\n"
        f"import_tune(SearchConfig(search={{'hyperparameters.a': {{'choice': [1]}}}}, address={address}))\n"
        "import ray\n"
        "print(os.environ.get('RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'), ray.util.get_node_ip_address())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    switch, found = done.stdout.split()
    assert switch == "None" and (found == "127.0.0.1" or not own), done
