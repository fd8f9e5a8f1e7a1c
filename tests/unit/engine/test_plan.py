"""Epoch plans: every record once, the order free of the number of hosts, resume from any batch."""

import json
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import ConfigError
from engine.plan import Cursor, EpochPlan, Remainder, dump_state, load_state
from engine.plan.feistel import Feistel, derive_key
from engine.plan.lanes import largest_divisor

EXAMPLES = int(os.environ.get("PLAN_EXAMPLES", "60"))


@st.composite
def plans(draw):
    """(block sizes, plan fields, number of hosts): blocks of unequal sizes, some of them empty."""
    blocks = draw(st.lists(st.integers(0, 12), min_size=1, max_size=40).filter(any))
    size = draw(st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24]))
    fields = {
        "seed": draw(st.integers(-(2**63), 2**64)),
        "global_batch_size": size,
        "shuffle": draw(st.booleans()),
        "remainder": draw(st.sampled_from([r for r in Remainder if r is not Remainder.DROP or sum(blocks) >= size])),
        "window_records": draw(st.none() | st.integers(1, 80)),
        "lanes": draw(st.none() | st.sampled_from([d for d in range(1, size + 1) if size % d == 0])),
    }
    hosts = draw(st.sampled_from([h for h in range(1, size + 1) if size % h == 0]))
    return blocks, fields, hosts


def batches_of(plan, count, start=0):
    """Every host's slices joined: the global batches start..count-1."""
    hosts = range(plan.config.num_hosts)
    return [np.concatenate([plan.record_ids(plan.cursor(b), h) for h in hosts]) for b in range(start, count)]


def joined(batches):
    return np.concatenate([np.empty(0, np.int64), *batches])


@settings(max_examples=EXAMPLES, deadline=None)
@given(plans(), st.integers(0, 3))
def test_epoch_any_plan_misses_and_repeats_nothing(made, epoch):
    blocks, fields, hosts = made
    plan = EpochPlan(blocks, num_hosts=hosts, **fields)
    total, size = sum(blocks), fields["global_batch_size"]
    if plan.config.remainder is Remainder.CARRY:
        ids = joined(batches_of(plan, plan.total_batches(epoch + 1)))[epoch * total : (epoch + 1) * total]
        left_out = max(0, (epoch + 1) * total - plan.total_batches(epoch + 1) * size)
    else:
        ids = joined(batches_of(plan, plan.total_batches(epoch + 1), plan.total_batches(epoch)))
        left_out = total % size if plan.config.remainder is Remainder.DROP else 0
    missing = set(range(total)) - set(ids.tolist())
    assert len(missing) == min(left_out, total)
    assert len(ids) == len(set(ids.tolist()))


@settings(max_examples=EXAMPLES, deadline=None)
@given(plans())
def test_global_batches_any_number_of_hosts_same_batches(made):
    blocks, fields, hosts = made
    one, several = EpochPlan(blocks, **fields), EpochPlan(blocks, num_hosts=hosts, **fields)
    count = one.total_batches(2)
    for expected, got in zip(batches_of(one, count), batches_of(several, count), strict=True):
        np.testing.assert_array_equal(got, expected)


@settings(max_examples=EXAMPLES, deadline=None)
@given(plans(), st.data())
def test_batch_found_alone_equals_batch_found_in_sequence(made, data):
    blocks, fields, _ = made
    expected = batches_of(EpochPlan(blocks, **fields), EpochPlan(blocks, **fields).total_batches(3))
    if expected:
        number = data.draw(st.integers(0, len(expected) - 1))
        fresh = EpochPlan(blocks, **fields)
        np.testing.assert_array_equal(fresh.record_ids(fresh.cursor(number)), expected[number])


@settings(max_examples=EXAMPLES, deadline=None)
@given(plans(), st.integers(0, 1000), st.integers(0, 1000))
def test_cursor_any_batch_number_advance_and_number_agree(made, number, more):
    plan = EpochPlan(made[0], **made[1])
    cursor = plan.cursor(number)
    assert plan.batch_number(cursor) == number
    assert plan.advance(cursor, more) == plan.cursor(number + more)


def test_resume_every_batch_whole_tail_equals_uninterrupted():
    blocks = [7, 3, 0, 11, 5, 9, 2, 8]
    for remainder in Remainder:
        fields = {"seed": 5, "global_batch_size": 6, "remainder": remainder, "window_records": 16}
        whole = batches_of(EpochPlan(blocks, **fields), 20)
        for stop in range(20):
            saved = json.dumps(dump_state(EpochPlan(blocks, **fields), "f", EpochPlan(blocks, **fields).cursor(stop)))
            resumed = EpochPlan(blocks, num_hosts=(1, 2, 3, 6)[stop % 4], **fields)
            cursor, _ = load_state(resumed, "f", json.loads(saved))
            tail = batches_of(resumed, 20, resumed.batch_number(cursor))
            assert [t.tolist() for t in tail] == [w.tolist() for w in whole[stop:]]


def test_unshuffled_records_come_in_file_order():
    plan = EpochPlan([3, 5, 4], global_batch_size=5, shuffle=False, remainder=Remainder.PARTIAL)
    assert [plan.record_ids(plan.cursor(b)).tolist() for b in range(3)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_shuffled_orders_differ_between_epochs_and_seeds():
    first = EpochPlan([50] * 40, seed=1, global_batch_size=100)
    other = EpochPlan([50] * 40, seed=2, global_batch_size=100)
    orders = [joined(batches_of(p, s + 20, s)) for p in (first, other) for s in (0, 20)]
    for i, left in enumerate(orders):
        for right in orders[:i]:
            assert np.mean(left == right) < 0.02


def test_shuffled_many_blocks_in_bins_misses_nothing_and_spreads():
    blocks = np.random.default_rng(0).integers(0, 4, 9000)
    plan = EpochPlan(blocks, seed=3, global_batch_size=64, remainder=Remainder.PAD, window_records=500)
    assert plan.order._num_bins > 1
    for epoch in (0, 1):
        ids = joined(batches_of(plan, plan.total_batches(epoch + 1), plan.total_batches(epoch)))
        np.testing.assert_array_equal(np.sort(ids), np.arange(blocks.sum()))
        # Each tenth of the epoch draws from the whole data set: the mean id is near the middle.
        tenths = [part.mean() / blocks.sum() for part in np.array_split(ids, 10)]
        assert min(tenths) > 0.4 and max(tenths) < 0.6


def test_hosts_in_whole_lanes_read_disjoint_blocks():
    plan = EpochPlan([100] * 512, seed=0, global_batch_size=64, num_hosts=4, lanes=8, window_records=1600)
    seen = []
    for host in range(4):
        ids = joined(plan.record_ids(plan.cursor(b), host) for b in range(plan.num_batches()))
        seen.append(set(plan.locate(ids)[0].tolist()))
    shared = sum(len(seen[i] & seen[j]) for i in range(4) for j in range(i))
    assert shared <= 3 * plan.window_blocks  # at most the windows that a lane's end cuts


def test_carry_crosses_epochs_and_leaves_nothing_out():
    plan = EpochPlan([5, 5], seed=1, global_batch_size=4, remainder=Remainder.CARRY)
    ids = joined(batches_of(plan, 5))
    assert sorted(ids[:10]) == sorted(ids[10:]) == list(range(10))
    assert plan.cursor(3) == Cursor(1, 2)
    assert [plan.num_batches(e) for e in range(4)] == [3, 2, 3, 2]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 63, 64, 65, 1000, 4097])
def test_feistel_any_size_is_a_permutation(size):
    assert sorted(Feistel(size, 99).range(0, size).tolist()) == list(range(size))


def test_feistel_all_orders_of_four_are_equally_likely():
    keys = 4800
    counts = np.unique([Feistel(4, key).range(0, 4) @ [64, 16, 4, 1] for key in range(keys)], return_counts=True)[1]
    assert len(counts) == 24
    chi_square = float(((counts - keys / 24) ** 2 / (keys / 24)).sum())
    assert chi_square < 49.7  # 23 degrees of freedom: 1 in 1,000


def reference_image(size, key, value):
    """The network in Python's own integers: what a saved training position rests on, so it may never change."""
    b = max(8, math.isqrt(size - 1) + 1)
    a = max(8, -(-size // b))
    while True:
        left, right = divmod(value, b)
        for i in range(6):
            hashed = (right ^ derive_key(key, i)) * 0x9E3779B97F4A7C15 % 2**64
            hashed = (hashed ^ hashed >> 29) * 0xD6E8FEB86659FD93 % 2**64 >> 32
            modulus = b if i % 2 else a
            left, right = right, (left + (hashed * modulus >> 32)) % modulus
        value = left * b + right
        if value < size:
            return value


@given(st.integers(1, 2**62), st.integers(0, 2**64 - 1), st.data())
def test_feistel_equals_its_definition(size, key, draw):
    values = draw.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=8))
    expected = [reference_image(size, key, value) for value in values]
    assert Feistel(size, key)(np.array(values, np.int64)).tolist() == expected
    assert Feistel(size, key).range(values[0], values[0] + 1).tolist() == expected[:1]


def test_feistel_refuses_values_outside():
    with pytest.raises(ValueError, match="outside"):
        Feistel(10, 1)(np.array([10]))
    with pytest.raises(ValueError, match="outside"):
        Feistel(10, 1).range(5, 11)


def test_feistel_huge_size_stays_in_range_and_apart():
    images = Feistel(10**18, 1).range(10**17, 10**17 + 1000)
    assert len(np.unique(images)) == 1000 and images.min() >= 0 and images.max() < 10**18


def test_num_hosts_not_dividing_batch_raises_with_neighbours():
    with pytest.raises(ConfigError, match=r"num_hosts 7 does not divide global_batch_size 64.*4 or 8 hosts"):
        EpochPlan([100], global_batch_size=64, num_hosts=7)


def test_batch_larger_than_data_dropped_raises_and_padded_works():
    with pytest.raises(ConfigError, match="no batch could be made"):
        EpochPlan([3], global_batch_size=8)
    assert EpochPlan([3], global_batch_size=8, remainder=Remainder.PAD).num_batches() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", 8), ("global_batch_size", 8), ("shuffle", False), ("remainder", Remainder.PAD), ("lanes", 2)],
)
def test_state_of_other_plan_refused_naming_the_field(field, value):
    fields = {"seed": 7, "global_batch_size": 4, "lanes": 1}
    state = dump_state(EpochPlan([9, 9], **fields), "f", Cursor(0, 4))
    with pytest.raises(ConfigError, match=field):
        load_state(EpochPlan([9, 9], **{**fields, field: value}), "f", state)


def test_state_of_other_data_or_version_refused():
    plan = EpochPlan([9, 9], global_batch_size=4)
    state = dump_state(plan, "f", Cursor(0, 4))
    for broken, name in (
        ({**state, "manifest": "g"}, "manifest"),
        ({**state, "version": 2}, "version"),
        ({}, "version"),
    ):
        with pytest.raises(ConfigError, match=name):
            load_state(plan, "f", broken)
    with pytest.raises(ConfigError, match="no global batch"):
        load_state(plan, "f", {**state, "records_done": 3})


def test_largest_divisor_is_largest():
    assert [largest_divisor(n, 32) for n in (1024, 1536, 1009, 48)] == [32, 32, 1, 24]
