"""Which lines `logs` gives: one meaning of its options on every launcher."""

from __future__ import annotations

import pytest

from cluster.launchers import JobState, TaskStatus
from cluster.launchers.log_query import LogQuery, split_log
from engine import ConfigError

MEMBERS = [("chief", 0), ("worker", 0), ("worker", 1)]
TASKS = [TaskStatus(role=role, index=index, state=JobState.RUNNING) for role, index in MEMBERS]


@pytest.mark.parametrize(
    ("query", "members"),
    [
        ({}, MEMBERS),
        ({"role": "worker"}, [("worker", 0), ("worker", 1)]),
        ({"index": 0}, [("chief", 0), ("worker", 0)]),
        ({"role": "worker", "index": 1}, [("worker", 1)]),
    ],
)
def test_members_that_are_asked_for(query, members):
    assert LogQuery(**query).members("clicks", TASKS) == members


@pytest.mark.parametrize(
    ("role", "index", "named"), [("worker", 7, "worker-7"), ("ps", None, r"ps-\*"), (None, 2, r"\*-2")]
)
def test_a_member_that_the_job_does_not_have_is_refused_with_those_it_has(role, index, named):
    with pytest.raises(ConfigError, match=f"clicks has no member {named}; its members: chief-0, worker-0, worker-1"):
        LogQuery(role=role, index=index).members("clicks", TASKS)
    assert LogQuery(role=role, index=index).members("clicks", []) == []  # none is known yet


@pytest.mark.parametrize(("tail", "left"), [(None, "abc"), (0, ""), (1, "c"), (3, "abc"), (9, "abc")])
def test_last_lines(tail, left):
    assert LogQuery(tail=tail).last("abc") == left


def test_a_negative_tail_is_refused():
    with pytest.raises(ConfigError, match=r"tail = -1: expected a whole number from 0"):
        LogQuery(tail=-1)


def test_only_line_feeds_and_carriage_returns_end_a_line():
    assert split_log("a\u2028b\x0bc\x1cd\ne\r\n\nf".encode()) == ["a\u2028b\x0bc\x1cd", "e", "", "f"]
    assert split_log(b"\xff\n") == ["\ufffd"]
