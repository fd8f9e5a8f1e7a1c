"""What names and values of data may do to a terminal: nothing."""

from __future__ import annotations

import io
import re
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from cluster.cli.terminal import harmless_terminal
from engine import DataError
from engine.core import run_log

ORDERS = "\x1b]0;title\x07\x1b[31mred\u202egpj\u009b31m\b"
SHOWN = "\\u001b]0;title\\u0007\\u001b[31mred\\u202egpj\\u009b31m\\u0008"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


class Stream(io.TextIOWrapper):
    def __init__(self, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        return self.buffer.getvalue().decode()


@pytest.mark.parametrize("terminal", [True, False])
def test_names_of_columns_order_no_terminal_about_and_reach_files_as_they_are(tmp_path, monkeypatch, terminal):
    pq.write_table(pa.table({ORDERS: [1, 2]}), tmp_path / "a.parquet")
    stream = Stream(terminal)
    monkeypatch.setattr("sys.stdout", stream)
    assert main(["inspect", str(tmp_path / "a.parquet")]) == 0
    assert (SHOWN if terminal else ORDERS) in stream.text()
    assert terminal is (RAW.search(stream.text()) is None)


def test_what_a_users_code_writes_reaches_the_terminal_as_it_is(monkeypatch):
    stream = Stream(terminal=True)
    monkeypatch.setattr("sys.stdout", stream)
    code = f"import sys\nprint({ORDERS!r})\nsys.stdout.writelines([{ORDERS!r}])"
    with harmless_terminal():
        assert sys.stdout.isatty()
        exec(code, {"__name__": "user_module"})
    assert stream.text() == f"{ORDERS}\n{ORDERS}"
    with harmless_terminal():
        exec(code, {"__name__": "cluster.cli.commands.inspect"})
    assert stream.text() == f"{ORDERS}\n{ORDERS}{SHOWN}\n{SHOWN}"


def test_names_of_files_order_no_terminal_about(tmp_path, capfd):
    path = tmp_path / f"{ORDERS}.parquet"
    path.write_bytes(b"no data")
    for words in (["inspect", str(path)], ["inspect", str(path), "--debug"], ["run", f"{ORDERS}.toml"]):
        assert main(words) == 2
        err = capfd.readouterr().err
        assert SHOWN in err and not RAW.search(err)
    assert DataError("x", path=ORDERS).path == ORDERS, "programs still get it whole"


def test_notes_and_log_files_order_no_terminal_about(tmp_path, capfd):
    with run_log.recording():
        path = run_log.begin(tmp_path)
        run_log.tell(f"column {ORDERS}")
        run_log.record("failed", error=OSError(ORDERS))
    err, text = capfd.readouterr().err, path.read_text()
    assert SHOWN in err and text.count(SHOWN) == 2 and not RAW.search(err + text)
