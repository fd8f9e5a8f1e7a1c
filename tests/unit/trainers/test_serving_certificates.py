"""Certificates that are renewed while a server runs: each renewal is seen, and what hinders one is said once."""

import asyncio
import itertools
import os
import shutil
import ssl
from types import SimpleNamespace

import pytest

from tests.support.certificates import Authority
from trainers.serving.server import ModelConfig, ServeConfig
from trainers.serving.server.doors import guards


@pytest.fixture
def files(tmp_path):
    return Authority(tmp_path / "authority").issue("server")


def _config(files):
    key, certificate = map(str, files)
    return ServeConfig(models=(ModelConfig(name="m", directory="m"),), tls_key=key, tls_certificate=certificate)


def _follow(context, looks):
    left = iter([False] * looks)
    asyncio.run(context.follow(0, lambda: next(left, True)))


def test_what_is_renewed_while_it_is_read_is_seen_at_the_next_look(files):
    made = []

    def make():
        made.append(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        if len(made) == 1:
            shutil.copy(files[1], f"{files[1]}.new")
            os.replace(f"{files[1]}.new", files[1])
        return made[-1]

    context = guards.FollowingContext(_config(files), make)
    _follow(context, 3)
    assert len(made) == 2
    assert context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True).context is made[1]


def test_each_reason_is_said_once(files, tmp_path, monkeypatch, caplog):
    context = guards.FollowingContext(_config(files), lambda: ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    seconds = itertools.count()
    monkeypatch.setattr(guards, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    other, _ = Authority(tmp_path / "authority").issue("other")
    files[0].unlink()
    _follow(context, 9)
    assert len(caplog.messages) == 1 and "No such file" in caplog.text
    os.replace(other, files[0])
    _follow(context, 9)
    assert len(caplog.messages) == 2 and "mismatch" in caplog.messages[1].lower()
