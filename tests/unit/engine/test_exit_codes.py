"""Exit codes: each means one thing, and what the processes end with is in the table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.cli.main import build_parser
from engine.core import exit_codes
from trainers.supervision.entry_point import run_target

ROOT = Path(__file__).resolve().parents[3]


def test_the_command_lists_every_code_with_its_meaning():
    text = build_parser()[0].format_help()
    for code, meaning in exit_codes.MEANINGS.items():
        assert f"  {code:<4} {meaning}" in text
    assert len(exit_codes.MEANINGS) == len(set(exit_codes.MEANINGS.values())) == 7


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("pass", exit_codes.DONE),
        ("raise OSError('the disk is full')", exit_codes.FAILED),
        ("from engine.core.errors import NoRoom\nraise NoRoom('cannot be written', path='audit/1')", exit_codes.FAILED),
        ("raise ConfigError('epochs: got 0; expected 1')", exit_codes.WRONG_INPUT),
        ("raise ValueError('no column age')", exit_codes.PROGRAM_ERROR),
        ("raise SystemExit(7)", 7),
    ],
)
def test_a_training_program_ends_with_the_code_of_its_fault(tmp_path, body, code):
    (tmp_path / "program.py").write_text(f"from engine import ConfigError\n{body}\n")
    assert run_target([str(tmp_path / "program.py")]) == code


def test_damage_is_an_answer_and_not_an_error(tmp_path):
    (tmp_path / "x.tfrecord").write_bytes(b"no record at all, but long enough")
    words = [sys.executable, "-m", "cluster.cli.main", "verify", str(tmp_path / "x.tfrecord")]
    assert subprocess.run(words, cwd=ROOT, capture_output=True).returncode == exit_codes.NOT_MET
