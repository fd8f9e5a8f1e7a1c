"""What the history of a serving directory says of where a version came from, and of how far back it goes."""

from __future__ import annotations

import pytest

from engine import ConfigError
from trainers.serving.push import history, push, rollback, versions


def model(directory, text):
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_text(text)
    return directory


def test_history_names_the_directory_and_not_the_link_that_was_followed(tmp_path, monkeypatch):
    """`latest` of a pipeline is another model after the next run."""
    first, second = model(tmp_path / "export" / "a-1", "one"), model(tmp_path / "export" / "b-2", "two")
    latest = tmp_path / "export" / "latest"
    monkeypatch.chdir(tmp_path)
    for target in (first, second):
        latest.unlink(missing_ok=True)
        latest.symlink_to(target.name)
        push("export/latest", "serving", force=True)
    rollback("serving")
    assert [entry["source"] for entry in history("serving")] == [
        str(first), str(second), str(tmp_path / "serving" / "1")
    ]  # fmt: skip


def test_rollback_beyond_the_oldest_that_was_kept_says_so_and_what_may_be_named(tmp_path):
    for number in (1, 2, 3):
        push(model(tmp_path / str(number), str(number)), tmp_path / "serving", force=True, keep=2)
    rollback(tmp_path / "serving")
    assert versions(tmp_path / "serving") == [2, 3, 4]
    with pytest.raises(ConfigError, match="served before what 4 is; name one of them, earlier versions are 2, 3"):
        rollback(tmp_path / "serving")
    assert versions(tmp_path / "serving") == [2, 3, 4]
