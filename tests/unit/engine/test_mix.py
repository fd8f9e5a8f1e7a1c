"""Mixtures: proportions exact, each source in its own planned order, resume and resize like a single feed."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import ConfigError, Dataset
from engine.feed import mix
from engine.plan import EpochPlan, MixSchedule, Remainder

SIZES = (300, 70, 130)
STARTS = (0, 300, 370)
OPTIONS = {"global_batch_size": 24, "seed": 6, "with_record_ids": True}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(1, 64), st.integers(0, 500))
def test_schedule_any_weights_exact_over_a_period_and_close_before(weights, size, batches):
    schedule = MixSchedule(weights=tuple(weights), global_batch_size=size)
    shares = [Fraction(w, sum(weights)) for w in weights]
    slots = schedule.period * size
    assert schedule.period_counts.tolist() == [s * slots for s in shares]  # sums below 257: always exact
    taken = schedule.taken(batches * size)
    assert taken.sum() == batches * size
    assert all(abs(t - s * batches * size) <= len(weights) for t, s in zip(taken.tolist(), shares))
    seen = schedule.sources(0, 2 * slots)
    for slot in (0, 1, size, slots, slots + 1, 2 * slots):
        assert schedule.taken(slot).tolist() == np.bincount(seen[:slot], minlength=len(weights)).tolist()


def test_schedule_of_floats_means_the_fraction_written():
    assert MixSchedule(weights=(0.7, 0.3), global_batch_size=10).period_counts.tolist() == [7, 3]
    assert MixSchedule(weights=(0.7, 0.3), global_batch_size=10).period == 1


@pytest.mark.parametrize("weights", [(), (1, 0), (1, -1), (1, float("nan")), (1, float("inf")), (1, 1e-9)])
def test_schedule_bad_weights_refused(weights):
    with pytest.raises(ConfigError):
        MixSchedule(weights=weights, global_batch_size=8)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any), st.sampled_from([1, 3, 8]), st.data())
def test_stream_any_cuts_give_the_same_records(blocks, size, data):
    plan = EpochPlan(blocks, seed=1, global_batch_size=size, remainder=Remainder.CARRY, window_records=8)
    end = 3 * sum(blocks)

    def records(start, stop):
        return [i for run in plan.stream_runs(start, stop) for i in plan._run_ids(run).tolist()]

    whole = records(0, end)
    cuts = sorted([0, end, *data.draw(st.lists(st.integers(0, end), max_size=6))])
    assert [i for a, b in itertools.pairwise(cuts) for i in records(a, b)] == whole
    total = sum(blocks)
    for epoch in range(3):
        assert sorted(whole[epoch * total : (epoch + 1) * total]) == list(range(total))


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """Three data sets whose `value` is the record id within the mixture."""
    folder = tmp_path_factory.mktemp("mix")
    schema = pa.schema(
        [
            pa.field("value", pa.int64(), False),
            pa.field("word", pa.string(), False),
            pa.field("bag", pa.list_(pa.int64())),
        ]
    )
    made = []
    for number, (size, start) in enumerate(zip(SIZES, STARTS)):
        ids = range(start, start + size)
        rows = {"value": ids, "word": [f"w{i}" for i in ids], "bag": [[i] * (i % 3) for i in ids]}
        pq.write_table(pa.table(rows, schema=schema), folder / f"{number}.parquet", row_group_size=32)
        made.append(Dataset.open(str(folder / f"{number}.parquet"), feature_spec=schema))
    return made


def test_mixed_feed_proportions_values_and_epochs_are_exact(datasets):
    feed = mix(datasets, (0.5, 0.25, 0.25), **OPTIONS)
    seen = []
    for batch, _ in zip(feed, range(100)):
        ids = batch["record_ids"]
        assert np.bincount(np.searchsorted(STARTS, ids, side="right") - 1).tolist() == [12, 6, 6]
        columns = feed.unpack_numpy(batch)
        np.testing.assert_array_equal(columns["value"], ids)
        assert columns["word"].tolist() == [f"w{i}".encode() for i in ids]
        values, splits = columns["bag"]
        assert [values[a:b].tolist() for a, b in itertools.pairwise(splits)] == [[i] * (i % 3) for i in ids]
        seen.append(ids)
    seen = np.concatenate(seen)
    for size, start in zip(SIZES, STARTS):
        own = seen[(seen >= start) & (seen < start + size)]
        for epoch in range(len(own) // size):
            assert sorted(own[epoch * size : (epoch + 1) * size].tolist()) == list(range(start, start + size))


def test_mixed_feed_resumed_on_other_hosts_equals_uninterrupted(datasets):
    weights = (0.55, 0.2, 0.25)
    expected = [b["record_ids"].tolist() for b, _ in zip(mix(datasets, weights, **OPTIONS), range(40))]
    for done, hosts in ((0, 4), (1, 3), (13, 6), (39, 1)):
        state = json.loads(json.dumps(mix(datasets, weights, **OPTIONS).get_state(num_batches=done)))
        feeds = [mix(datasets, weights, host=h, num_hosts=hosts, **OPTIONS) for h in range(hosts)]
        for feed in feeds:
            feed.set_state(state)
        parts = zip(*feeds)
        got = [np.concatenate([b["record_ids"] for b in next(parts)]).tolist() for _ in range(40 - done)]
        assert got == expected[done:]
        assert feeds[0].get_state() == mix(datasets, weights, **OPTIONS).get_state(num_batches=40)


def test_mixed_feed_state_of_other_mixture_refused(datasets):
    state = mix(datasets, (1, 1, 1), **OPTIONS).get_state(num_batches=2)
    for other, name in (
        (mix(datasets, (1, 1, 2), **OPTIONS), "weights"),
        (mix(datasets, (1, 1, 1), **{**OPTIONS, "seed": 7}), "seed"),
        (mix(datasets[::-1], (1, 1, 1), **OPTIONS), "sources"),
    ):
        with pytest.raises(ConfigError, match=name):
            other.set_state(state)


def test_mixed_feed_columns_must_agree(datasets, tmp_path):
    pq.write_table(pa.table({"value": [0.5], "word": ["x"], "bag": [[1]]}), tmp_path / "odd.parquet")
    with pytest.raises(ConfigError, match=r"source 1 .*value \(int64\) there, value \(float32\) here"):
        mix([datasets[0], Dataset.open(str(tmp_path / "odd.parquet"))], (1, 1), **OPTIONS)
    with pytest.raises(ConfigError, match="one weight for each"):
        mix(datasets, (1, 1), **OPTIONS)


def test_mixed_feed_as_tf_data(datasets):
    import tensorflow as tf

    feed = mix(datasets, (2, 1, 1), columns=["value", "word"], **OPTIONS)
    expected = [b["record_ids"] for b, _ in zip(feed, range(5))]
    for element, ids in zip(feed.dataset().take(5), expected):
        np.testing.assert_array_equal(tf.function(feed.unpack)(element)["value"], ids)
