"""Certificates that are renewed while a server runs: each renewal is seen, and what hinders one is said once."""

import asyncio
import dataclasses
import itertools
import os
import shutil
import ssl
from types import SimpleNamespace

import pytest

from engine.machine.ports import free_ports
from tests.support.certificates import Authority
from tests.support.served_model import metrics
from trainers.serving.server import ModelConfig, ServeConfig
from trainers.serving.server.core import Core
from trainers.serving.server.doors import guards
from trainers.serving.server.worker import start_rest


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


def test_a_server_reads_its_key_once_for_its_rest_port(files, tmp_path, monkeypatch):
    read, real = [], ssl.SSLContext.load_cert_chain

    def load(self, *words):
        read.append(words[0])
        return real(self, *words)

    async def shown():
        config = dataclasses.replace(_config(files), rest_port=free_ports(1)[0])
        with monkeypatch.context() as patch:
            patch.setattr(ssl.SSLContext, "load_cert_chain", load)
            core = Core(config, metrics())
            server, task = await start_rest(config, core)
        context = ssl.create_default_context(cafile=str(tmp_path / "authority" / "authority.pem"))
        _, writer = await asyncio.open_connection("127.0.0.1", config.rest_port, ssl=context)
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        server.should_exit = True
        await task
        await core.drain()
        return found

    assert asyncio.run(shown()) == ssl.PEM_cert_to_DER_cert(files[1].read_text())
    assert read == [str(files[1])]
