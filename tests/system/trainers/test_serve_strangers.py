"""What clients send that no client of ours would: over REST, each answered as TensorFlow Serving answers it, or refused by name."""

import base64
import gzip
import json
import socket

import numpy as np
import pytest
import tensorflow as tf

from tests.support.eventually import eventually
from tests.support.served_model import PREDICT, answers, asked, example, rows, save_version
from trainers.serving.server import BatchingConfig, Limits, ModelConfig, ServeConfig
from trainers.serving.server.processes import started

VALUES = rows(2)
GOOD = json.dumps({"instances": [{"b64": base64.b64encode(example(VALUES[0])).decode()}]}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "m"
    folder.mkdir()
    save_version(folder, 1)

    class Total(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def total(self, x):
            return {"total": tf.reduce_sum(x)[None], "twice": 2 * x, "label": tf.fill(tf.shape(x), "a")}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="x")])
        def exact(self, x):
            return {"y": x}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def kept(self, x):
            return {"all": x, "kept": tf.boolean_mask(x, x > 0)}

    model = Total()
    signatures = {"serving_default": model.total, "exact": model.exact, "kept": model.kept}
    tf.saved_model.save(model, str(folder.parent / "total" / "1"), signatures=signatures)
    models = (
        ModelConfig(name="m", directory=str(folder), labels={"stable": 1}),
        ModelConfig(name="total", directory=str(folder.parent / "total")),
    )
    with started(_config(*models)) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """The port of a server that waits for nobody, which is for the tests of that alone: a slow machine is not idle."""
    folder = tmp_path_factory.mktemp("impatient") / "m"
    folder.mkdir()
    save_version(folder, 1)
    with started(_config(ModelConfig(name="m", directory=str(folder)), idle_s=3)) as running:
        yield running.config.rest_port


def _config(*models, **limits):
    return ServeConfig(
        models=models,
        grpc_port=None,
        rest_port=0,
        limits=Limits(request_bytes=1 << 20, request_rows=2000, **limits),
        batching=BatchingConfig(max_batch_size=64),
    )


@pytest.fixture(scope="module")
def port(server):
    return server.config.rest_port


def _raw(port, *data):
    """All that comes back on one connection, whose other end is told that nothing follows."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in data:
            connection.sendall(piece)
        out = b""
        while chunk := connection.recv(1 << 16):
            out += chunk
    return out


def _features(x, word='"a"'):
    return f'{{"signature_name": "raw_features", "instances": [{{"x": {x}, "word": {word}}}]}}'.encode(
        "utf-8", "surrogatepass"
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (_features("[1e39, 2, 3]"), "'x': a number does not fit float32"),
        (_features("[1e400, 2, 3]"), "beyond the range"),
        (_features("[1, 2, true]"), "'x': got true or false"),
        (_features("[1, 2, null]"), "'x'"),
        (_features('["1", "2", "3"]'), "'x'"),
        (_features("[1, 2]"), "'x'"),
        (_features("[1, 2, 3]", '"\\ud800"'), "'word': got half of a surrogate pair"),
        (_features("[1, 2, 3]", "5"), "'word'"),
        (_features("[1, 2, 3]", "[" * 700 + '"a"' + "]" * 700), "'word'"),
        (_features("[1, 2, 3]", '{"b64": "AAAAA"}'), "b64"),
        (_features("[1, 2, 3]", '["a"], "word": ["b", ["c"]]'), "'word'"),
        (_features("[1, 2, 3]", '"a", "z": 1'), "z"),
        (b'{"signature_name": "raw_features", "instances": [{"x": [1, 2, 3]}]}', "word"),
        (b'{"signature_name": "raw_features", "inputs": {"x": [[1, 2, 3]], "word": ["b", ["c"]]}}', "'word': rows differ"),
        (json.dumps({"instances": [{"b64": ""}]}).encode(), "Feature: x (data type: float) is required"),
        (b'{"instances": []}', "instances"),
        (_features("[1, 2, 3]", '"a", "word": "b"'), "'word' is given twice"),
        (b'{"instances": [{"b64": ""}], "instances": [{"b64": ""}]}', "'instances' is given twice"),
        (b'{"signature_name": "raw_features", "instances": [{"\\ud800": 1}]}', "surrogates not allowed"),
        (b'{"inputs": {"\\udfff": 1}}', "surrogates not allowed"),
        (b"", "JSON"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(port, body, text):
    status, answer = asked(port, body)
    assert status == 400 and text in answer["error"], answer


@pytest.mark.parametrize(
    ("example_row", "text"),
    [({"x": [1e39, 2.0, 3.0]}, "'x'"), ({"x": [1 << 70]}, "'x'"), ({"x": [1, 2, 3]}, "Key: x")],
)
def test_features_of_an_example_that_do_not_fit_are_refused_by_name(port, example_row, text):
    body = json.dumps({"signature_name": "classes", "examples": [example_row]})
    status, answer = asked(port, body, path="/v1/models/m:classify")
    assert status == 400 and text in answer["error"], answer


def test_half_of_a_character_in_the_name_of_a_feature_is_refused(port):
    status, answer = asked(port, b'{"examples": [{"\\ud800": 1}]}', path="/v1/models/m:classify")
    assert status == 400 and "surrogates not allowed" in answer["error"], answer


def test_a_body_that_says_to_be_too_large_is_refused_before_it_comes(port):
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {1 << 60}\r\n\r\n"
    assert b"larger than 1048576 bytes" in _raw(port, head.encode())


def test_who_sends_too_much_gets_the_answer_and_no_broken_pipe(port):
    for _ in range(5):
        assert asked(port, b"a" * (20 << 20), {"connection": "close"})[0] == 400
    name = json.dumps({"signature_name": "a" * (1 << 19), "instances": [1]})
    status, answer = asked(port, name.encode())
    assert status == 400 and answer["error"].startswith("Serving signature name") and len(answer["error"]) < 2100
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
    assert b"larger than 1048576 bytes" in _raw(
        port, f"{head}expect: 100-continue\r\ncontent-length: {2 << 20}\r\n\r\n".encode()
    )


def test_integers_keep_all_their_bits_and_huge_ones_are_near(port):
    numbers = [(1 << 53) + 1, -(1 << 63), (1 << 63) - 1]
    body = json.dumps({"signature_name": "exact", "instances": numbers})
    assert asked(port, body, path="/v1/models/total:predict") == (200, {"predictions": numbers})
    status, answer = asked(port, _features("[1" + "0" * 30 + ", 2, 3]"))
    assert status == 200 and answer["predictions"][0]["score"] == 1.0


def test_not_a_number_goes_in_and_comes_out(port):
    status, answer = asked(port, b'{"inputs": [NaN, Infinity]}', path="/v1/models/total:predict")
    assert status == 200
    np.testing.assert_array_equal(answer["outputs"]["twice"], [np.nan, np.inf])


def test_outputs_that_are_not_of_rows_are_neither_parted_nor_cut(port):
    path = "/v1/models/total:predict"
    assert asked(port, b'{"inputs": [1, 2, 3]}', path=path)[1]["outputs"]["total"] == [6.0]
    status, answer = asked(port, b'{"instances": [1, 2, 3]}', path=path)
    assert status == 400 and "total [1]" in answer["error"]
    status, answer = asked(port, b'{"instances": [5]}', path=path)
    assert status == 200 and answer["predictions"] == [{"total": 5.0, "twice": 10.0, "label": "a"}]


def test_outputs_that_differ_in_their_rows_are_refused_where_the_model_does_not_say_so_before(port):
    path, body = "/v1/models/total:predict", '{"signature_name": "kept", "instances": [1, %s, 3]}'
    status, answer = asked(port, body % "-2", path=path)
    assert status == 400 and "all [3]" in answer["error"] and "kept [2]" in answer["error"]
    status, answer = asked(port, body % "2", path=path)
    assert status == 200 and answer["predictions"] == [{"all": x, "kept": x} for x in (1.0, 2.0, 3.0)]


def test_packed_bodies_are_unpacked_within_the_limit(port):
    packed = {"content-encoding": "gzip"}
    assert asked(port, gzip.compress(GOOD), packed)[0] == 200
    for body, text in [
        (gzip.compress(b" " * (50 << 20)), "once it is unpacked"),
        (gzip.compress(GOOD)[:-9], "one whole gzip"),
        (GOOD, "gzip"),
    ]:
        status, answer = asked(port, body, packed)
        assert status == 400 and text in answer["error"]
    assert asked(port, GOOD, {"content-encoding": "br"})[0] == 400


def test_requests_on_one_connection_are_answered_in_their_order(port):
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(GOOD)}\r\n\r\n".encode()
    columns = json.dumps({"inputs": json.loads(GOOD)["instances"]}).encode()
    slow = f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(columns)}\r\n\r\n".encode() + columns
    last = head.replace(b"host", b"connection: close\r\nhost")
    out = _raw(port, (head + GOOD) * 2 + slow + head + GOOD + b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n" + last + GOOD)
    kinds = [word for word in out.replace(b'"', b" ").split() if word in (b"predictions", b"outputs", b"status")]
    assert kinds == [b"predictions"] * 2 + [b"outputs", b"predictions", b"status", b"predictions"]
    assert out.count(b"HTTP/1.1 200 OK") == 6


def test_every_way_to_send_a_body_gets_the_same_answer(port):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(GOOD[i : i + 20]), GOOD[i : i + 20]) for i in range(0, len(GOOD), 20))
    close, length = b"host: a\r\nconnection: close\r\n", f"content-length: {len(GOOD)}\r\n".encode()
    # Java's own client asks so for HTTP/2, in case that the server speaks it.
    asks = b"host: a\r\nconnection: close, Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    java = f"POST {PREDICT} HTTP/1.1\r\n".encode() + asks
    for data in [
        java + length + b"\r\n" + GOOD,
        java + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + asks.replace(b"close, ", b"") + b"\r\n" + java + length + b"\r\n" + GOOD,
        f"POST {PREDICT} HTTP/1.1\r\n".encode() + close + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        f"POST {PREDICT} HTTP/1.0\r\n".encode() + length + b"\r\n" + GOOD,
        f"POST {PREDICT} HTTP/1.1\r\n".encode() + close + b"expect: 100-continue\r\n" + length + b"\r\n" + GOOD,
        f"POST {PREDICT}?a=1 HTTP/1.1\r\n".encode() + close + length + b"\r\n" + GOOD,
        f"POST {PREDICT}/ HTTP/1.1\r\n".encode() + close + length + b"\r\n" + GOOD,
        f"POST {PREDICT} HTTP/1.1\r\ncontent-type: text/plain\r\n".encode() + close + length + b"\r\n" + GOOD,
    ]:
        for pieces in ((data,), [data[at : at + 1] for at in range(len(data))]):
            body = _raw(port, *pieces).rsplit(b"\r\n\r\n", 1)[-1]
            np.testing.assert_allclose(json.loads(body)["predictions"], answers(VALUES[:1], 0), rtol=1e-6)
    assert _raw(port, b"CONNECT a:1 HTTP/1.1\r\n" + close + b"\r\n").startswith(b"HTTP/1.1 400")


def test_a_head_without_end_and_two_lengths_are_refused(port):
    both = f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 9\r\n\r\n".encode()
    assert _raw(port, both).startswith(b"HTTP/1.1 400")
    chunked = b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n"  # what follows are trailers, headers as well
    for start in (b"", chunked):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\n".encode() + start)
            with pytest.raises(ConnectionError):
                for _ in range(10_000):  # until the server has had enough
                    connection.sendall(b"x: " + b"a" * 10_000 + b"\r\n")
    assert asked(port, GOOD)[0] == 200


def test_a_deadline_that_is_no_number_is_none_and_one_that_passed_is_named(port):
    assert asked(port, GOOD, {"x-request-timeout-ms": "soon"})[0] == 200
    status, answer = asked(port, GOOD, {"x-request-timeout-ms": "-1"})
    assert status == 504 and "deadline" in answer["error"]


HEAD = f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\n".encode()
MANY = json.dumps({"signature_name": "raw_features", "instances": [{"x": [1, 2, 3], "word": "a"}] * 2000}).encode()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b""),
        (HEAD, b""),
        (HEAD, b"x: y\r\n"),  # each half second: silent it is not
        (HEAD + b"content-length: 1000\r\n\r\n{", b" "),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n \r\n"),
    ],
    ids=["silent", "half a head", "a slow head", "a slow body", "slow chunks"],
)  # fmt: skip
def test_who_sends_slowly_or_nothing_is_not_waited_for(impatient, first, then):
    with socket.create_connection(("127.0.0.1", impatient), timeout=0.5) as connection:
        connection.sendall(first)

        def is_closed():
            try:
                connection.sendall(then)
                return connection.recv(100) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        eventually(is_closed, "it is hung up on", timeout_s=100)


def test_who_reads_no_answers_is_not_waited_for(impatient):
    request = HEAD + f"content-length: {len(MANY)}\r\n\r\n".encode() + MANY
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(100)
        connection.connect(("127.0.0.1", impatient))
        with pytest.raises(ConnectionError):
            for _ in range(1000):  # of which the first ones fill what lies between
                connection.sendall(request)
