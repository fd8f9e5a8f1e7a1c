"""Results of a step on disk: which is the newest, and which are deleted."""

from __future__ import annotations

import dataclasses
import datetime
import time

import pytest

from cluster.pipeline.records import (
    StepRecord,
    begin_directory,
    commit,
    finished_steps,
    point_latest,
    prune,
    sizes_in,
)
from engine.machine.clock import seconds_since, shown, utc_now


def record(key: str) -> StepRecord:
    return StepRecord(
        step="train", key=key * 64, parts={}, before={}, rows_in=1, rows_out=1, set_aside={}, seconds=0, outputs={}, notes=(),
        info={}, files={}, finished_at=utc_now(),
    )  # fmt: skip


@pytest.fixture
def timezone(monkeypatch):
    def use(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield use
    monkeypatch.undo()
    time.tzset()


def test_the_newest_results_stay_whatever_the_time_zone_of_the_machine(tmp_path, timezone):
    for zone, keys in (("Asia/Tokyo", "ba"), ("UTC", "dc"), ("America/Lima", "f")):
        timezone(zone)
        for key in keys:
            directory = begin_directory(tmp_path, key * 64, resumable=False)
            prune(tmp_path, commit(directory, record(key)).directory)
    assert [found.record.key[0] for found in finished_steps(tmp_path)] == ["f", "c", "d"]


def test_a_result_whose_files_beside_it_changed_is_damaged(tmp_path):
    (tmp_path / "stats").mkdir()
    file = tmp_path / "stats/statistics"
    file.write_text("whole")
    steps = tmp_path / "steps"
    directory = begin_directory(steps, "a" * 64, resumable=False)
    commit(directory, dataclasses.replace(record("a"), beside=sizes_in([str(tmp_path / "stats")])))
    (finished,) = finished_steps(steps)
    assert finished.damage() is None
    file.write_text("another")
    assert finished.damage() == f"{file.resolve()} has 7 bytes, was written with 5"
    file.unlink()
    assert finished.damage() == f"{file.resolve()} is gone"


def test_results_of_one_second_are_ordered_by_number_beyond_nine(tmp_path, monkeypatch):
    moment = utc_now()
    monkeypatch.setitem(record.__globals__, "utc_now", lambda: moment)
    for number in range(12):
        directory = begin_directory(tmp_path, format(11 - number, "x") * 64, resumable=False)
        commit(directory, record(format(11 - number, "x")))
    assert [found.directory.name.rpartition("-")[2] for found in finished_steps(tmp_path)] == [
        str(n) for n in range(12, 0, -1)
    ]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "UTC"])
def test_clock_gives_utc_that_says_so(timezone, zone):
    timezone(zone)
    moment = utc_now()
    assert moment.endswith("+00:00") and shown(moment) == moment[:10] + " " + moment[11:19] + " UTC"
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    assert 3600 <= seconds_since(then.isoformat()) < 7200


def test_running_leads_to_what_was_begun_last_and_latest_to_what_is_finished(tmp_path):
    first = begin_directory(tmp_path, "a" * 64, resumable=True)
    assert (tmp_path / "running").resolve() == first and not (tmp_path / "latest").exists()
    commit(first, record("a"))
    second = begin_directory(tmp_path, "b" * 64, resumable=True)
    assert (tmp_path / "running").resolve() == second and (tmp_path / "latest").resolve() == first
    assert begin_directory(tmp_path, "b" * 64, resumable=True) == second
    point_latest(first)  # the settings of before again: its result is used
    assert (tmp_path / "running").resolve() == (tmp_path / "latest").resolve() == first
