"""The rendezvous against strangers, garbage, floods and slow senders: the group goes on, nobody learns anything."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.eventually import eventually
from trainers.rendezvous.group_secret import new_secret, proof
from trainers.rendezvous.group_state import GroupPolicy, GroupState
from trainers.rendezvous.handshake import NoWelcome, connect
from trainers.rendezvous.json_lines import LIMIT_BYTES, BadMessage, LineBuffer, LineConnection, decode, encode
from trainers.rendezvous.messages import member_message, order
from trainers.rendezvous.rendezvous import Rendezvous
from trainers.supervision.supervisor import SupervisorConfig, supervise
from trainers.supervision.supervisor_client import Link
from trainers.supervision.tf_config import Task

SECRET = new_secret().encode()
RUN_ID = "run-4711"
EVENTUALLY_S = 20.0
FUZZ = int(os.environ.get("FULLPASS_FUZZ_ROUNDS", "1"))  # 1 takes seconds, 100 some minutes


class Member:
    """A supervisor's side, without a child."""

    def __init__(self, port: int, rank: int, size: int = 2) -> None:
        self.rank, self.got, self.closed = rank, [], False
        self.socket = connect(("127.0.0.1", port), SECRET, EVENTUALLY_S)
        threading.Thread(target=self._read, daemon=True).start()
        self.send({"is": "join", "rank": rank, "size": size, "run_id": RUN_ID, "generation": 0})

    def send(self, message: object) -> None:
        with contextlib.suppress(OSError):
            self.socket.sendall((json.dumps(message) + "\n").encode())

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            for line in self.socket.makefile("rb"):
                message = json.loads(line)
                if message["do"] != "beat":
                    self.got.append(message)
        self.closed = True


class Running:
    """A group of two that has started."""

    def __init__(self, hello_timeout_s: float = 10.0) -> None:
        self.log: list[str] = []
        self.state = GroupState(num_members=2, policy=GroupPolicy(silent_after_s=600.0), now=time.monotonic())
        self.server = Rendezvous("127.0.0.1", 0, self.state, RUN_ID, SECRET, self.log.append, hello_timeout_s)
        self.members = [Member(self.server.port, rank) for rank in range(2)]
        eventually(lambda: all(m.got for m in self.members), "the group starts")

    def check(self) -> None:
        """The group heard of no stranger, and still answers: a member's failure stops the other."""
        assert self.server.failure is None
        assert [[m["do"] for m in member.got] for member in self.members] == [["start"], ["start"]]
        assert self.state.outcome is None and self.state.generation == 1 and self.state.restarts == 0
        self.members[1].send({"is": "exited", "generation": 1, "code": 1, "reason": "x"})
        eventually(lambda: [m["do"] for m in self.members[0].got] == ["start", "stop"], "the other is stopped")

    def close(self) -> None:
        for member in self.members:
            member.hang_up()
        self.server.close()


@pytest.fixture
def group() -> Iterator[Running]:
    running = Running()
    yield running
    running.close()


def stranger(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=EVENTUALLY_S)


def everything(connection: socket.socket) -> bytes:
    """Returns all that the server says until it hangs up."""
    out = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            out += data
    return out


HOSTILE = {
    "a number": b"1\n",
    "a list": b"[]\n",
    "null": b"null\n",
    "a text": b'"join"\n',
    "a join without fields": b'{"is":"join"}\n',
    "a join by somebody unknown": b'{"is":"join","rank":0,"size":2,"run_id":"run-4711","generation":0}\n',
    "a name of a method": b'{"is":"__class__"}\n',
    "bytes": bytes(range(256)) * 20 + b"\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "deep nesting": b"[" * 4000 + b"\n",
    "a huge number": b'{"is":"hello","nonce":' + b"9" * 3000 + b"}\n",
    "a line of 600 KB": b"x" * 600_000,
    "a hello without proof": b'{"is":"hello","nonce":"' + b"0" * 32 + b'"}\n',
    "a wrong proof": b'{"is":"hello","nonce":"' + b"0" * 32 + b'","proof":"' + b"0" * 64 + b'"}\n',
    "a hello with half a character": b'{"is":"hello","nonce":"\\ud800","proof":"00"}\n',
    "a hello with half a character in a nonce's length": b'{"is":"hello","nonce":"'
    + b"\\udfff" * 32
    + b'","proof":"00"}\n',
    "a hello with NUL": b'{"is":"hello","nonce":"' + b"\\u0000" * 32 + b'","proof":"00"}\n',
    "a proof that is no ASCII": ('{"is":"hello","nonce":"%s","proof":"\\ud800ä"}\n' % ("0" * 32)).encode(),
    "empty lines": b"\n" * 10,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_rendezvous_hostile_bytes_are_refused_and_told_nothing(group, name):
    with stranger(group.server.port) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(HOSTILE[name])
        said = everything(connection)
    lines = [json.loads(line) for line in said.splitlines()]
    assert all(set(line) == {"is", "nonce"} for line in lines), "a random number, nothing else"
    assert RUN_ID.encode() not in said
    group.check()


HOSTILE_MEMBER = [
    1, [], None, "x", {}, {"is": "join"}, {"is": []}, {"is": "beat", "step": "x"}, {"is": "beat", "step": True},
    {"is": "join", "rank": "x", "size": 2, "run_id": RUN_ID, "generation": 0},
    {"is": "join", "rank": 1, "size": 2, "run_id": RUN_ID, "generation": 10**9},
    {"is": "join", "rank": -1, "size": 2, "run_id": RUN_ID, "generation": 0},
    {"is": "join", "rank": 1.0, "size": 2, "run_id": RUN_ID, "generation": 0},
    {"is": "exited", "generation": 1, "code": "3", "reason": "x"}, {"is": "leave"}, {"is": "_serve"},
]  # fmt: skip


@pytest.mark.parametrize("message", HOSTILE_MEMBER, ids=str)
def test_rendezvous_member_with_a_malformed_message_is_hung_up(group, message):
    with connect(("127.0.0.1", group.server.port), SECRET, EVENTUALLY_S) as connection:
        connection.sendall((json.dumps(message) + "\n").encode())
        connection.settimeout(EVENTUALLY_S)
        everything(connection)  # until it is closed
    assert any(text.startswith("a connection sent ") for text in group.log)
    group.check()


def test_rendezvous_old_proof_is_worth_nothing(group):
    """A proof that was heard once does not open another connection: the server's number is new each time."""
    with stranger(group.server.port) as first:
        challenge = json.loads(first.makefile("rb").readline())
        heard = encode(
            {"is": "hello", "nonce": "aa" * 16, "proof": proof(SECRET, "member", challenge["nonce"], "aa" * 16)}
        )
    with stranger(group.server.port) as second:
        second.sendall(heard)
        assert b"welcome" not in everything(second)
    # Nor may what the server says be sent back to it as a member's proof.
    assert proof(SECRET, "member", "a", "b") != proof(SECRET, "rendezvous", "a", "b")
    group.check()


@contextlib.contextmanager
def liar(*messages: dict[str, str]) -> Iterator[tuple[str, int]]:
    """The address of a server that says these messages, each but the first after whatever it hears."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def lie() -> None:
            connection, _ = server.accept()
            with connection:
                for message in messages:
                    connection.sendall(encode(message))
                    connection.recv(4096)

        thread = threading.Thread(target=lie)
        thread.start()
        yield server.getsockname()
        thread.join()


def test_rendezvous_member_does_not_follow_a_server_without_the_secret():
    lies = {"is": "challenge", "nonce": "00" * 16}, {"is": "welcome", "proof": "0" * 64}
    with liar(*lies) as address, pytest.raises(NoWelcome, match="does not know this group's secret"):
        connect(address, SECRET, EVENTUALLY_S)


def test_rendezvous_member_has_one_seat(group):
    """With two, the group would take the other for taken long after the connection had ended."""
    with connect(("127.0.0.1", group.server.port), SECRET, EVENTUALLY_S) as connection:
        for rank in range(2):
            join = {"is": "join", "rank": rank, "size": 2, "run_id": RUN_ID, "generation": 0}
            connection.sendall(encode(join))
        connection.settimeout(EVENTUALLY_S)
        everything(connection)  # until it is closed
    assert any("a join as 1 after one as 0" in text for text in group.log)


@pytest.mark.parametrize("nonce", ["\ud800", "\ud800" * 32, "", "0" * 33, "\u0660" * 32], ids=ascii)
def test_rendezvous_member_refuses_a_challenge_that_is_no_number(nonce):
    lie = {"is": "challenge", "nonce": nonce}
    with liar(lie) as address, pytest.raises(NoWelcome, match="speaks another protocol"):
        connect(address, SECRET, EVENTUALLY_S)


def test_messages_half_characters_become_text_that_can_be_written():
    """A reason with the path of a file whose name is no UTF-8 is an honest one."""
    reason = os.fsdecode(b"caf\xe9") + " \U0001f600"
    held = decode(encode({"is": "leave", "reason": reason}))["reason"]
    assert held.encode() and held == "caf\\udce9 \U0001f600"


def test_rendezvous_wrong_run_is_told_so_once_it_has_proved_the_secret(group):
    with connect(("127.0.0.1", group.server.port), SECRET, EVENTUALLY_S) as connection:
        connection.sendall(encode({"is": "join", "rank": 0, "size": 2, "run_id": "old", "generation": 0}))
        found = order(json.loads(connection.makefile("rb").readline()))
        while found.do == "beat":
            found = order(json.loads(connection.makefile("rb").readline()))
    assert (found.do, found.code) == ("failed", 2) and RUN_ID in found.reason
    group.check()


def test_rendezvous_thousand_connections_and_slow_senders_do_not_keep_members_out(group):
    """More strangers than it has room for, that send nothing, half a hello, or a byte at a time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        with contextlib.ExitStack() as stack:
            for number in range(1000):
                connection = stack.enter_context(stranger(group.server.port))
                with contextlib.suppress(ConnectionError):
                    connection.sendall((b"", b'{"is":"hello"', b"{")[number % 3])
            # While they are there, a supervisor that was started again finds its place.
            again = Member(group.server.port, 1)
            eventually(lambda: group.members[1].closed, "the older connection of that rank is closed")
            again.hang_up()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert group.server.failure is None
    assert any("oldest of 64 without proof" in text for text in group.log)
    assert len(group.log) < 50, "a flood does not fill the log"


def test_rendezvous_members_join_while_strangers_flood_it():
    """Those that wait for their turn are behind strangers that never end; each tries again as its supervisor does."""
    state = GroupState(num_members=2, policy=GroupPolicy(silent_after_s=600.0), now=time.monotonic())
    server = Rendezvous("127.0.0.1", 0, state, RUN_ID, SECRET, lambda _: None)
    enough = threading.Event()
    came = [0, 0, 0]

    def flood(kind: int) -> None:
        held: collections.deque[socket.socket] = collections.deque()
        while not enough.is_set():
            with contextlib.suppress(OSError):
                held.append(stranger(server.port))
                came[kind] += 1
                held[-1].sendall((b"", b"{", b"x\n")[kind])
            if len(held) > 100:
                held.popleft().close()
            time.sleep(0.001)  # members and server run in this process, too
        for connection in held:
            connection.close()

    floods = [threading.Thread(target=flood, args=(kind,), daemon=True) for kind in range(3)]
    for each in floods:
        each.start()
    members = []
    try:
        eventually(lambda: min(came) > 100, "the flood comes first")
        until = time.monotonic() + 5 * EVENTUALLY_S
        while len(members) < 2:
            assert time.monotonic() < until, f"member {len(members)} is kept out"
            with contextlib.suppress(NoWelcome):
                members.append(Member(server.port, len(members)))
        eventually(lambda: all(member.got for member in members), "the group starts")
        assert state.generation == 1 and state.outcome is None and server.failure is None
    finally:
        enough.set()
        for each in floods:
            each.join()
        for member in members:
            member.hang_up()
        server.close()


def test_rendezvous_stranger_that_never_proves_is_closed_after_the_time_limit():
    group = Running(hello_timeout_s=0.2)
    try:
        with stranger(group.server.port) as connection:
            connection.sendall(b'{"is":')
            everything(connection)
        assert any("did not prove the group's secret in time" in text for text in group.log)
        group.check()
    finally:
        group.close()


def test_rendezvous_without_descriptors_goes_on_when_there_are_some_again(group):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    waiting = [socket.socket() for _ in range(20)]
    free = min(set(range(3, 4096)) - {s.fileno() for s in waiting})  # the next descriptor that would be given
    with contextlib.ExitStack() as held:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            for one in waiting:
                held.enter_context(one)
                one.connect(("127.0.0.1", group.server.port))
            eventually(
                lambda: any("no room for a connection" in text for text in group.log), "it is out of descriptors"
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    Member(group.server.port, 0).hang_up()
    assert group.server.failure is None


def test_rendezvous_resets_before_accept_do_no_harm(group):
    for _ in range(300):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.connect(("127.0.0.1", group.server.port))
        one.close()
    group.check()


def test_rendezvous_random_bytes_of_strangers_and_members_never_end_it(group):
    """Seeded noise: pieces of real messages, cut and mixed with random bytes, from both sides of the proof."""
    noise = random.Random(20 + FUZZ)
    pieces = [
        b'{"is":',
        b'"join"',
        b'"rank":',
        b"1",
        b"}",
        b"{",
        b"\n",
        b",",
        b"null",
        b"[[",
        b'"',
        b"\xff\x00",
        b"-1e999",
    ]
    for _ in range(200 * FUZZ):
        known = noise.random() < 0.5
        connection = (
            connect(("127.0.0.1", group.server.port), SECRET, EVENTUALLY_S) if known else stranger(group.server.port)
        )
        with connection, contextlib.suppress(ConnectionError):
            connection.sendall(b"".join(noise.choice([*pieces, noise.randbytes(9)]) for _ in range(40)) + b"\n")
    group.check()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.dictionaries(
    st.sampled_from(["is", "do", "rank", "size", "run_id", "generation", "code", "reason", "step", "committed"]),
    JSON | st.sampled_from(["join", "beat", "exited", "leave", "start", "stop", "done", "failed", 0, 1, 2]),
)


@settings(max_examples=400 * FUZZ, deadline=None)
@given(st.binary(max_size=300) | FIELDS.map(lambda value: json.dumps(value).encode()))
def test_messages_any_line_is_a_message_or_is_refused(line):
    """Whatever comes, only BadMessage goes out; whatever is accepted has the types that it promises."""
    try:
        value = decode(line)
    except BadMessage:
        return
    for read in (member_message, order):
        with contextlib.suppress(BadMessage):
            message = read(value)
            for name, kind in type(message).__annotations__.items():
                held = getattr(message, name)
                assert type(held) is (int if "int" in kind else str) or (held is None and "None" in kind)


def test_messages_encoded_line_is_never_too_long():
    assert len(encode({"is": "exited", "generation": 1, "code": 1, "reason": "\U0001f600" * 100_000})) < LIMIT_BYTES
    said = {"failed": "\U0001f600" * 4000, "where": "\U0001f600" * 4000, "step": 7}
    (found,) = LineBuffer().messages(encode(said))
    assert found["step"] == 7 and all(
        len(found[key]) >= 2000 and said[key].startswith(found[key]) for key in ("failed", "where")
    )


@settings(max_examples=50 * FUZZ, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=5), st.integers(1, 50))
def test_lines_are_the_same_messages_however_the_network_cuts_them(sent, size):
    text = b"".join(encode(message) for message in sent)
    buffer = LineBuffer()
    found = [message for at in range(0, len(text), size) for message in buffer.messages(text[at : at + size])]
    assert json.dumps(found) == json.dumps(sent)


@pytest.mark.parametrize("line", [b"x" * 101, b"{" + b" " * 100 + b"}\n"])
def test_lines_beyond_the_limit_are_refused_whether_they_end_or_not(line):
    with pytest.raises(BadMessage, match="at most 100 are allowed"):
        list(LineBuffer(limit=100).messages(line))
    assert next(LineBuffer(limit=None).messages(b'{"a": "' + b"x" * 100_000 + b'"}\n'))["a"] == "x" * 100_000


def test_a_long_reason_of_the_training_process_reaches_its_supervisor_and_later_messages_too(tmp_path):
    """It went out whole, was beyond the receiver's limit, and ended the connection: nobody heard a heartbeat after it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    link = Link(str(tmp_path / "s"))
    received: list[dict] = []
    LineConnection(listener.accept()[0], received.append).start()
    link.send(error="x" * 100_000)
    link.send(step=7)
    eventually(lambda: {"step": 7} in received, "the step is known")
    assert [message["error"][:3] for message in received if "error" in message] == ["xxx"]
    listener.close()


def test_rendezvous_fails_loudly_when_its_thread_does(group, monkeypatch):
    """An error of our own ends the thread with a reason that its supervisor ends with; nobody waits for ever."""
    monkeypatch.setattr(group.state, "tick", lambda now: 1 / 0)
    eventually(lambda: group.server.failure is not None, "the failure is known")
    assert "ZeroDivisionError" in group.server.failure
    eventually(lambda: all(m.closed for m in group.members), "its members are hung up")


def test_supervisor_leaves_a_rendezvous_that_says_nothing_and_ends_with_the_reason(tmp_path, capfd):
    """It answers the handshake, and then no more: a machine that stands still, a thread that is gone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, held = server.getsockname()[1], []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    held.append(connection)
                    connection.sendall(encode({"is": "challenge", "nonce": "00" * 16}))
                    hello = json.loads(connection.makefile("rb").readline())
                    said = proof(SECRET, "rendezvous", "00" * 16, hello["nonce"])
                    connection.sendall(encode({"is": "welcome", "proof": said}))

        threading.Thread(target=serve, daemon=True).start()
        addresses = ("127.0.0.1:1", "127.0.0.1:2")
        config = SupervisorConfig(
            target=["x.py"],
            task=Task(type="worker", index=1, cluster={"worker": addresses}),
            rendezvous=("127.0.0.1", port),
            secret=SECRET,
            policy=GroupPolicy(silent_after_s=0.5, rejoin_timeout_s=2.0),
            preload=("json",),
        )
        before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        try:
            assert supervise(config) == 1
        finally:
            for number, handler in zip((signal.SIGTERM, signal.SIGINT), before):
                signal.signal(number, handler)
    said = capfd.readouterr().err
    assert "for 2 s (it said nothing" in said and said.rstrip().endswith("given up")
    assert len(held) > 1, "it tried again"
