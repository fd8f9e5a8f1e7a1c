"""The group's state machine: who is started, stopped and given up, without a process or a clock."""

from __future__ import annotations

import random

import pytest

from trainers.rendezvous.group_state import GroupPolicy, GroupState


def started(size: int = 2, **more) -> GroupState:
    state = GroupState(num_members=size, names=tuple(f"worker {i}" for i in range(size)), **more)
    actions = [a for rank in range(size) for a in state.joined(rank, 0, 0.0)]
    assert [(a.rank, a.message["do"]) for a in actions] == [(r, "start") for r in range(size)]
    return state


def test_group_starts_only_when_all_have_joined():
    state = GroupState(num_members=2)
    assert state.joined(0, 0, 0.0) == []
    assert [a.message for a in state.joined(1, 3, 0.0)] == [{"do": "start", "generation": 4}] * 2


def test_group_failed_member_stops_the_others_and_all_start_anew():
    state = started(3)
    assert [(a.rank, a.message["do"]) for a in state.exited(1, 1, 137, "killed", 1.0)] == [(0, "stop"), (2, "stop")]
    assert state.joined(1, 1, 1.1) == [] and state.joined(0, 1, 1.2) == []
    assert {a.message["generation"] for a in state.joined(2, 1, 1.3)} == {2}


def test_group_late_exit_of_an_older_generation_changes_nothing():
    state = started()
    state.exited(1, 1, 137, "killed", 1.0)
    assert state.exited(0, 1, 1, "UnavailableError", 1.1) == []
    assert state.restarts == 1


def test_group_failures_without_a_commit_back_off_and_give_up_with_the_reason():
    policy = GroupPolicy(max_failures_in_a_row=3, backoff_s=2.0)
    state, now = started(1, policy=policy), 0.0
    waits = []
    for generation in range(1, 5):
        actions = state.exited(0, generation, 1, "out of memory", now)
        if generation == 4:
            assert "4 failures in a row without a new checkpoint" in actions[0].message["reason"]
            assert "worker 0: out of memory" in actions[0].message["reason"]
            return
        actions, at = state.joined(0, generation, now), now
        while not actions:
            now += 0.5
            state.beat(0, now)
            actions, _ = state.tick(now)
        waits.append(now - at)
    assert waits == [0.0, 2.0, 4.0]


def test_group_a_commit_between_failures_counts_anew():
    state = started(1, policy=GroupPolicy(max_failures_in_a_row=1))
    for generation in range(1, 30):
        state.beat(0, 1.0, committed=generation)
        assert state.exited(0, generation, 1, "killed", 1.0) == []
        assert state.joined(0, generation, 1.0)
    assert state.restarts == 29


@pytest.mark.parametrize("code", [2, 3])
def test_group_wrong_input_is_not_tried_again(code):
    state = started()
    actions = state.exited(1, 1, code, "ConfigError: no label", 1.0)
    assert [a.message["code"] for a in actions] == [code, code] and state.outcome == "failed"


def test_group_silent_member_is_dropped_and_absent_one_waited_for():
    state = started(policy=GroupPolicy(silent_after_s=8, rejoin_timeout_s=100))
    state.beat(0, 9.0)
    actions, silent = state.tick(9.0)
    assert silent == [1] and [(a.rank, a.message["do"]) for a in actions] == [(0, "stop")]
    for second in range(10, 115):
        state.beat(0, float(second))
        actions, _ = state.tick(float(second))
        if state.outcome:
            break
    assert "worker 1 did not join within 100 s" in state.reason and 108 <= second <= 111


def test_group_preempted_member_costs_no_restart():
    state = started()
    state.exited(0, 1, 143, "exit code 143", 1.0)
    assert state.restarts == 0 and state.outcome is None


def test_group_independent_worker_restarts_alone_and_leader_ends_it():
    state = started(3, independent={1}, leaders={0})
    assert state.exited(1, 1, 137, "killed", 1.0) == []
    assert [(a.rank, a.message) for a in state.joined(1, 1, 1.0)] == [(1, {"do": "start", "generation": 1})]
    assert {a.message["do"] for a in state.exited(0, 1, 0, "", 2.0)} == {"done"}


@pytest.mark.parametrize("seed", range(20))
def test_group_random_faults_never_run_two_generations_at_once(seed):
    """Whatever fails in whatever order: a start goes out only while no member has a child."""
    moments, state = (
        random.Random(seed),
        GroupState(num_members=3, policy=GroupPolicy(max_failures_in_a_row=10**6, max_restarts=10**6, max_backoff_s=0)),
    )
    children: dict[int, int] = {}
    waiting = {0, 1, 2}  # supervisors that have joined since their last start
    mail: list[tuple[int, dict]] = []
    now = 0.0

    def take(actions):
        mail.extend((a.rank, a.message) for a in actions)

    for rank in range(3):
        take(state.joined(rank, 0, now))
    for _ in range(600):
        now += 0.1
        for rank in range(3):
            state.beat(rank, now)
        if mail and moments.random() < 0.7:
            rank, message = mail.pop(0)
            if message["do"] == "start":
                assert all(g == message["generation"] for g in children.values()), "two generations at once"
                children[rank] = message["generation"]
                waiting.discard(rank)
            elif rank not in waiting:
                children.pop(rank, None)
                waiting.add(rank)
                take(state.joined(rank, state.generation, now))
        elif children and moments.random() < 0.3:
            rank = moments.choice(list(children))
            take(state.exited(rank, children.pop(rank), 137, "killed", now))
            waiting.add(rank)
            take(state.joined(rank, state.generation, now))
        take(state.tick(now)[0])
    assert state.generation > 5, "the group goes on"
