"""What `fullpass serve` is told that no server can be: refused before anything listens."""

import pytest

from cluster.cli.main import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "m=a", "--model", "m=b"], "'m' is both a and b"),
        (["a/m", "--model", "m=b"], "'m' is both b and a/m"),
        (["a", "--label", "stable=1", "--label", "stable=2"], "'stable' is both 1 and 2"),
        (["a", "--rest-port", "70000"], "rest_port: got 70000; expected 0 to 65535"),
        (["a", "--rest-port", "9000", "--grpc-port", "9000"], "both 9000"),
        (["a", "--record", "much", "b"], "--record: got 'much'"),
        (["a", "--poll", "0"], "poll_s 0.0"),
        (["a", "--drain", "nan"], "drain_s nan"),
        (["a", "--token-file", "empty"], "token: expected one word"),
        (["a", "--token-file", "words"], "token: expected one word"),
    ],
)
def test_what_no_server_can_be_is_refused_by_name(tmp_path, monkeypatch, capsys, words, said):
    """The last of two models of one name was served, and ports or shares that are none were internal errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "words").write_text("häslich und geheim\n")
    assert main(["serve", *words]) == 2
    err = capsys.readouterr().err
    assert said in err and "geheim" not in err
