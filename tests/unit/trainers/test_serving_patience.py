"""How long a client may take: by a clock that the test moves, and by what the protocol says it waits for."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import resource
import types

import pytest
import uvicorn
from uvicorn.server import ServerState

from trainers.serving.server.config import BatchingConfig, Limits
from trainers.serving.server.doors.patience import Patience
from trainers.serving.server.doors.predict_protocol import predict_protocol
from trainers.serving.server.worker import most_files


class Clock:
    """A loop whose time is what the test says."""

    def __init__(self):
        self.now, self.timers, self.number = 0.0, [], itertools.count()

    def time(self):
        return self.now

    def call_later(self, delay, what, *args):
        heapq.heappush(self.timers, (self.now + delay, next(self.number), what, args))
        return types.SimpleNamespace(cancel=lambda: None)

    def run_until(self, end):
        while self.timers and self.timers[0][0] <= end:
            self.now, _, what, args = heapq.heappop(self.timers)
            what(*args)
        self.now = end


class Transport(asyncio.Transport):
    """A connection whose client reads when the test says so."""

    def __init__(self):
        super().__init__()
        self.unsent, self.ended, self.said = 0, asyncio.Event(), b""

    def get_write_buffer_size(self):
        return self.unsent

    def abort(self):
        self.ended.set()

    close = abort

    def is_closing(self):
        return self.ended.is_set()

    def write(self, data):
        self.said += data

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class Client:
    def __init__(self):
        self.transport, self.heard, self.answered = Transport(), 0, 0
        self.waiting_since, self.reading_paused = None, False


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("trainers.serving.server.doors.patience.asyncio.get_running_loop", lambda: made)
    return made


def answered_at(clock, at, unsent):
    """A client whose answer was written at this time, of 10 s of patience."""
    client = Client()
    Patience(10).arrived(client)
    client.waiting_since = None  # the request has come
    clock.run_until(at)
    client.answered, client.waiting_since, client.transport.unsent = 1, clock.now, unsent
    return client


@pytest.mark.parametrize("at", [0.005, 1.0, 9.995])
def test_who_reads_an_answer_for_long_gets_all_of_it(clock, at):
    client = answered_at(clock, at, unsent=100)
    for second in range(1, 100):
        clock.run_until(at + second)
        client.transport.unsent -= 1
    assert not client.transport.is_closing()
    client.transport.unsent = 0
    clock.run_until(clock.now + 9)
    assert not client.transport.is_closing(), "it may ask again"
    clock.run_until(clock.now + 21)
    assert client.transport.is_closing()


@pytest.mark.parametrize("at", [0.005, 1.0, 9.995])
def test_who_reads_nothing_of_an_answer_goes_after_the_whole_time(clock, at):
    client = answered_at(clock, at, unsent=100)
    clock.run_until(at + 9.9)
    assert not client.transport.is_closing()
    clock.run_until(at + 21)
    assert client.transport.is_closing()


@pytest.mark.parametrize(
    ("asked", "busy", "gone"),
    [((), (), 0), ((0, 1), (), 2), ((0,), (1,), 2), (range(10), (), 0)],
    ids=["who waits longest", "those that asked stay", "so do those that are answered", "where all have asked"],
)
def test_silent_connections_do_not_take_the_descriptors_of_others(clock, monkeypatch, asked, busy, gone):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (20, 20))  # one in two is a connection's
    patience, clients = Patience(1000), [Client() for _ in range(11)]
    for position, client in enumerate(clients):
        assert not any(each.transport.is_closing() for each in clients)
        clock.run_until(position)
        patience.arrived(client)
        client.answered = int(position in asked)
        client.waiting_since = None if position in busy else clock.now
    assert [position for position, client in enumerate(clients) if client.transport.is_closing()] == [gone]


class Connection:
    """A connection of the server's protocol, before an application that the test answers for."""

    def __init__(self, idle_s):
        self.requests = asyncio.Queue()
        core = types.SimpleNamespace(
            config=types.SimpleNamespace(limits=Limits(idle_s=idle_s), batching=BatchingConfig(), token="t"),
            submits=True,
        )
        config = uvicorn.Config(self._answer, http=predict_protocol(core), interface="asgi3", log_level="critical")
        config.load()
        self.transport = Transport()
        self.protocol = config.http_protocol_class(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(self.transport)

    async def _answer(self, scope, receive, send):
        may, done = asyncio.Event(), asyncio.Event()
        self.requests.put_nowait((scope["path"], may, done))
        await may.wait()
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        done.set()

    async def answer(self, path):
        """Answers the request that runs, which is that of `path`."""
        found, may, done = await self.requests.get()
        assert found == path
        may.set()
        await done.wait()


def test_a_body_that_comes_behind_its_answer_is_followed_by_a_wait():
    async def run():
        connection = Connection(idle_s=1)
        connection.protocol.data_received(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n")
        await connection.answer("/a")
        connection.protocol.data_received(b"1")
        assert connection.protocol.waiting_since is not None
        await connection.transport.ended.wait()
        assert connection.transport.said.startswith(b"HTTP/1.1 401")

    asyncio.run(asyncio.wait_for(run(), 60))


def test_who_waits_for_the_second_of_two_answers_is_waited_for_by_nobody():
    async def run():
        connection = Connection(idle_s=3600)
        connection.protocol.data_received(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTTP/1.1\r\nhost: x\r\n\r\n")
        await connection.answer("/a")
        assert connection.protocol.waiting_since is None
        await connection.answer("/b")
        assert connection.protocol.waiting_since is not None
        connection.protocol.connection_lost(None)

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize(
    ("limit", "taken"), [(resource.RLIM_INFINITY, 1 << 20), (1073741816, 1 << 20), (1 << 20, 1 << 20), (4096, 4096)]
)
def test_a_limit_that_is_none_is_not_taken_whole(limit, taken):
    assert most_files(limit) == taken
