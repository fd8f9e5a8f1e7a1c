"""Credentials in URIs are in no message, whoever raises it; everything else in it stays."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.cli.main import main
from engine import ConfigError, DataError
from engine.core import run_log
from engine.core.redaction import redact

SECRET = "SuperSecret123"
NAMES = ["key", "token", "session_token", "accessToken", "access_key", "awsAccessKeyId", "api_key", "apikey", "x-functions-key",
         "AccountKey", "sharedKey", "secret", "client_secret", "clientSecret", "password", "passwd", "pwd", "sig", "signature",
         "X-Amz-Signature", "X-Amz-Security-Token", "X-Goog-Credential", "auth", "authorization", "oauth_token", "token2",
         "encryption_key", "kms_key", "master_key", "idToken", "token_v2"]  # fmt: skip
OTHER_NAMES = [
    "author",
    "sort_key",
    "keyword",
    "monkey",
    "primary_key",
    "keys",
    "max_tokens",
    "tokenizer",
    "design",
    "signal",
    "authority",
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"s3://AKIA:{SECRET}@bucket/a: gone", "s3://***@bucket/a: gone"),
        (f"('https://u:{SECRET}@h/x', 'b')", "('https://***@h/x', 'b')"),
        (f"s3://b/x?endpoint_override=http://h:9&secret_key={SECRET}&region=eu", "s3://b/x?endpoint_override=http://h:9&secret_key=***&region=eu"),
        (f"https://h/x?X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}", "https://h/x?X-Amz-Signature=***&X-Amz-Credential=***"),
        (f"https://h/x?sv=1&sig={SECRET} and s3://a:{SECRET}@c", "https://h/x?sv=1&sig=*** and s3://***@c"),
        (f"https://h/x?access_token={SECRET}#f", "https://h/x?access_token=***#f"),
        (f"s3://AKIA:a/{SECRET}+b@bucket/x", "s3://***@bucket/x"),
        (f"http://u:a#{SECRET}@h/x and http://u:a?{SECRET}@h/x", "http://***@h/x and http://***@h/x"),
        (f"http://u:p@{SECRET}@h/x", "http://***@h/x"),
        (f"s3://AKIA:12345/{SECRET}@bucket/x: 12345/{SECRET} is no name", "s3://***@bucket/x: *** is no name"),
        (f"GS://k:1?{SECRET}@b and abfs://k:1#{SECRET}@b", "GS://***@b and abfs://***@b"),
        (f"s3://AKIA:/{SECRET}@b: AKIA:/{SECRET}", "s3://***@b: AKIA:***"),
        ("hdfs://name:/data/a@b/c is gone; /data/a is missing", "hdfs://***@b/c is gone; /data/a is missing"),
        (f"redis://:{SECRET}@h:6379/0", "redis://***@h:6379/0"),
        (f"s3://k:{SECRET}%2Fx@b: bad key {SECRET}/x", "s3://***@b: bad key ***"),
        (f"https://h/x?sig={SECRET}%3D refused: {SECRET}=", "https://h/x?sig=*** refused: ***"),
        (f"https://h/x?sig=a%2B&token={SECRET}&key={SECRET}2 ({SECRET}2)", "https://h/x?sig=***&token=***&key=*** (***)"),
        (f"https://h/x#access_token={SECRET}", "https://h/x#access_token=***"),
        ("http://host:8080/a@b/c and http://[::1]:8080/x@y", "http://host:8080/a@b/c and http://[::1]:8080/x@y"),
        ("hdfs://me@host:8020/a", "hdfs://me@host:8020/a"),
        ("gs://bucket/token=3/key=4/a:b@c", "gs://bucket/token=3/key=4/a:b@c"),
        *((f"https://h/x?a=1&{name}={SECRET}&b=2", f"https://h/x?a=1&{name}=***&b=2") for name in NAMES),
        *((f"https://h/x?{name}=descending&b=2 descending",) * 2 for name in OTHER_NAMES),
        ("s3://b?secret_key=minio&region=minio", "s3://b?secret_key=***&region=minio"),
        ("file:///a/b?c", "file:///a/b?c"),
        ("10:20@30, a secret=x", "10:20@30, a secret=x"),
    ],
)  # fmt: skip
def test_redact_hides_credentials_and_nothing_else(text, shown):
    assert redact(text) == shown


@pytest.mark.parametrize("piece", ["a://b:", "a-", "?key", "a://", "&token", "://u:a@", "?key="])
def test_redact_takes_long_texts_of_data_at_once(piece):
    """In the square of their length these are minutes."""
    text = "x://" + piece * 20_000
    assert len(redact(text)) <= len(text) + 3 * text.count("=") + 3 * text.count("@")


def test_errors_show_no_credentials_before_and_after_a_process_boundary():
    uri = f"s3://AKIA:{SECRET}@bucket/a"
    for error in (ConfigError(f"no {uri}"), DataError("is gone", path=uri, record=3), DataError(f"{uri} is gone")):
        for each in (error, pickle.loads(pickle.dumps(error))):
            assert SECRET not in str(each) and "bucket/a" in str(each)
    assert DataError("is gone", path=uri).path == uri, "programs still get it whole"


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://AKIAEXAMPLE:{SECRET}@bucket/train/*.tfrecord?endpoint_override=http://127.0.0.1:9",
        f"s3://bucket/x.tfrecord?endpoint_override=http://127.0.0.1:9&secret_key={SECRET}&access_key=AKIA",
    ],
)
def test_command_line_shows_no_credentials(uri, capfd, monkeypatch):
    monkeypatch.setenv("FULLPASS_REMOTE_ATTEMPTS", "1")
    assert main(["inspect", uri]) != 0
    out, err = capfd.readouterr()
    assert SECRET not in out + err and "bucket" in err
    assert "s3:// takes no keys in a URI" in err and "AWS_SECRET_ACCESS_KEY" in err, (
        "they were tried six times, as a bucket's name, or left out"
    )


@pytest.mark.parametrize("words", ["inspect a --bad=", "report a --format=", ""])
def test_refused_words_show_no_credentials_and_order_no_terminal_about(words, capfd):
    with pytest.raises(SystemExit):
        main(f"{words}s3://AKIA:{SECRET}@bucket/\x1b[2J".split())
    err = capfd.readouterr().err
    assert SECRET not in err and "\x1b" not in err


def test_debug_shows_the_traceback_of_a_librarys_error_without_credentials(capfd, monkeypatch):
    uri = f"s3://AKIA:{SECRET}@bucket/a"

    def refuse(*_args: object) -> None:
        try:
            raise OSError(f"Invalid bucket name in {uri}")
        except OSError as error:
            raise DataError("is gone", path=uri) from error

    monkeypatch.setattr("cluster.cli.commands.inspect.run", refuse)
    assert main(["inspect", "x", "--debug"]) == 2
    err = capfd.readouterr().err
    assert SECRET not in err and "OSError: Invalid bucket name in s3://***@bucket/a" in err


def test_a_failed_worker_shows_no_credentials_to_its_log_and_its_supervisor(tmp_path):
    """The library's exception, from which ours came, has the URI as it is; and so has one that is nobody's."""
    (tmp_path / "program.py").write_text(
        "import sys\nfrom engine import DataError\n"
        f"uri = 's3://AKIA:{SECRET}@bucket/\\x1b[2J'\n"
        "try:\n    raise OSError(f'Invalid bucket name in {uri}')\n"
        "except OSError as error:\n    raise (DataError('is gone', path='a') if sys.argv[1:] else RuntimeError(uri)) from error\n"
    )
    run = "import sys; from trainers.supervision.entry_point import run_target; sys.exit(run_target(sys.argv[1:]))"
    for more in ([], ["ours"]):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / f"s{len(more)}"))
            listener.listen()
            env = {
                **os.environ,
                "FULLPASS_SUPERVISOR": listener.getsockname(),
                "PYTHONPATH": str(Path(__file__).parents[3]),
            }
            words = [sys.executable, "-c", run, str(tmp_path / "program.py"), *more]
            done = subprocess.run(words, env=env, capture_output=True, text=True)
            with listener.accept()[0] as link:
                told = b"".join(iter(lambda: link.recv(4096), b"")).decode()
        assert done.returncode and SECRET not in done.stderr + told and "\x1b" not in done.stderr + told
        assert "OSError: Invalid bucket name in s3://***@bucket/\\u001b[2J" in done.stderr and '"error": "' in told


def test_warnings_of_a_server_show_no_credentials_and_order_no_terminal_about(capfd):
    with run_log.recording():
        run_log.show_warnings("fullpass serve: ")
        try:
            raise OSError(f"s3://AKIA:{SECRET}@bucket/\x1b[2J")
        except OSError as error:
            logging.getLogger("fullpass.serve").error("model m", exc_info=error)
        logging.getLogger("fullpass.serve").info("no warning")
    err = capfd.readouterr().err
    assert err.startswith("fullpass serve: model m\nTraceback") and "s3://***@bucket/\\u001b[2J" in err
    assert SECRET not in err and "no warning" not in err
