"""`bucket_by_length`: batches of records of similar length, every record once, exact over hosts and restarts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, Dataset
from engine.feed import mix
from engine.plan import EpochPlan, Remainder

ROWS, BOUNDARIES = 6000, [4, 8, 16, 32]


@pytest.fixture(scope="module")
def lengths():
    return np.minimum(np.random.default_rng(0).geometric(0.08, ROWS) - 1, 64)


@pytest.fixture(scope="module")
def data(lengths, tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "rows.parquet"
    tokens = pa.array([np.full(n, i) for i, n in enumerate(lengths)], pa.list_(pa.int64()))
    pq.write_table(pa.table({"i": np.arange(ROWS), "tokens": tokens}), path, row_group_size=250)
    return Dataset.open(str(path))


def feed(data, **options):
    settings = {
        "global_batch_size": 64, "seed": 5, "num_epochs": 1, "with_record_ids": True,
        "bucket_by_length": "tokens", "bucket_boundaries": BOUNDARIES,
    }  # fmt: skip
    return data.feed(**{**settings, **options})


def ids(some):
    return [batch["record_ids"].copy() for batch in some]


def padded(batches, lengths):
    """Values that a step computes where each batch is as long as the bucket of its longest list."""
    tops = [*BOUNDARIES, 65]
    return sum(tops[np.searchsorted(BOUNDARIES, lengths[batch].max(), side="right")] * len(batch) for batch in batches)


@pytest.mark.parametrize("layout", [{}, {"lanes": 4, "window_records": 3000}, {"window_records": 1000}])
def test_batches_hold_similar_lengths_and_an_epoch_every_record_once(data, lengths, layout):
    batches = ids(feed(data, remainder=Remainder.PARTIAL, **layout))
    assert sorted(np.concatenate(batches)) == list(range(ROWS))
    plain = ids(feed(data, remainder=Remainder.PARTIAL, bucket_by_length=None, bucket_boundaries=(), **layout))
    assert padded(batches, lengths) < 0.6 * padded(plain, lengths), "a batch at random nearly always has a long list"
    means = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.4, "short and long batches come in no order"
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4


def test_lists_are_those_of_the_records(data, lengths):
    some = feed(data)
    for packed in some:
        batch = some.unpack_numpy(packed)
        values, splits = batch["tokens"]
        np.testing.assert_array_equal(np.diff(splits), lengths[batch["record_ids"]])
        np.testing.assert_array_equal(values, np.repeat(batch["record_ids"], np.diff(splits)))
        np.testing.assert_array_equal(batch["i"], batch["record_ids"])


@pytest.mark.parametrize("layout", [{}, {"lanes": 4, "window_records": 3000}])
def test_hosts_share_the_same_batches_of_one_length(data, lengths, layout):
    one = ids(feed(data, **layout))
    two = [ids(feed(data, host=host, num_hosts=2, **layout)) for host in (0, 1)]
    for whole, *parts in zip(one, *two, strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(parts))
    longest = np.array([[lengths[part].max() for part in host] for host in two])
    apart = np.abs(np.diff(np.searchsorted(BOUNDARIES, longest, side="right"), axis=0))
    assert np.mean(apart) < 0.3, "all hosts have short records at one step, long ones at another"


@pytest.mark.parametrize("remainder", [Remainder.DROP, Remainder.CARRY, Remainder.PAD])
def test_resume_is_exact_on_another_number_of_hosts(data, remainder):
    settings = {"num_epochs": 2, "remainder": remainder, "lanes": 2, "window_records": 2000}
    whole = ids(feed(data, **settings))
    first = feed(data, **settings)
    walk = iter(first)
    for _ in range(57):
        next(walk)
    state = first.get_state()
    halves = [feed(data, host=host, num_hosts=2, **settings) for host in (0, 1)]
    for half in halves:
        half.set_state(state)
    rest = [np.concatenate(pair) for pair in zip(*map(ids, halves), strict=True)]
    assert len(rest) == len(whole) - 57
    for here, there in zip(rest, whole[57:], strict=True):
        np.testing.assert_array_equal(here, there)
    assert not np.array_equal(whole[0], whole[len(whole) // 2]), "each epoch has an order of its own"


def test_records_left_out_are_not_chosen_by_length(data, lengths):
    left = set(range(ROWS)) - set(np.concatenate(ids(feed(data, global_batch_size=1800))))
    plain = ids(feed(data, global_batch_size=1800, bucket_by_length=None, bucket_boundaries=()))
    assert left == set(range(ROWS)) - set(np.concatenate(plain)) and len(left) == 600


def test_regrouping_is_a_permutation_whatever_windows_and_lanes():
    rng = np.random.default_rng(1)
    for _ in range(150):
        blocks = rng.integers(0, 40, rng.integers(1, 30))
        blocks[0] += 8
        size = int(rng.choice([1, 2, 4, 8]))
        plan = EpochPlan(
            blocks, global_batch_size=size, seed=int(rng.integers(99)), remainder=rng.choice(list(Remainder)),
            window_records=int(rng.integers(1, 200)), lanes=int(rng.choice([d for d in (1, 2, 4, 8) if size % d == 0])),
            bucket_by_length="x", bucket_boundaries=(3, 6),
        )  # fmt: skip
        epoch, at = int(rng.integers(3)), 0
        while at < plan.num_records:
            window = plan.window_at(epoch, at)
            rows = window.rows(window.start, window.stop)
            again = plan.regrouped(window, rows, rng.integers(0, 10, len(rows)))
            assert sorted(again) == sorted(rows)
            at = window.stop


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bucket_by_length": "tokns"}, "no list column 'tokns' is read; the list columns here are tokens"),
        ({"bucket_by_length": "i"}, "no list column 'i'"),
        ({"columns": ["i"]}, "no list column 'tokens' is read; .* none"),
        ({"bucket_boundaries": []}, "give both or neither"),
        ({"bucket_by_length": None}, "give both or neither"),
        ({"bucket_boundaries": [8, 4]}, r"bucket_boundaries is \[8, 4\]: .* ascending"),
        ({"bucket_boundaries": [0, 4]}, r"whole numbers from 1 on"),
        ({"bucket_boundaries": "48"}, "whole numbers from 1 on"),
        ({"shuffle": False}, "which shuffle=False keeps"),
    ],
)
def test_options_that_cannot_be_are_refused(data, options, message):
    with pytest.raises(ConfigError, match=message):
        feed(data, **options)


def test_state_of_other_buckets_is_refused_and_one_from_before_them_is_taken(data):
    plain = {"bucket_by_length": None, "bucket_boundaries": ()}
    with pytest.raises(ConfigError, match="bucket_by_length is None, here it is 'tokens'"):
        feed(data).set_state(feed(data, **plain).get_state())
    with pytest.raises(ConfigError, match=r"bucket_boundaries is \[4, 8, 16, 32\], here it is \[4, 8\]"):
        feed(data, bucket_boundaries=[4, 8]).set_state(feed(data).get_state())
    old = feed(data, **plain).get_state()
    del old["bucket_by_length"], old["bucket_boundaries"]
    feed(data, **plain).set_state(old)
    with pytest.raises(ConfigError, match="bucket_by_length"):
        feed(data).set_state(old)


def test_mixture_refuses_them(data):
    with pytest.raises(ConfigError, match="bucket_by_length does not go with a mixture"):
        mix([data, data], [1, 1], global_batch_size=8, bucket_by_length="tokens", bucket_boundaries=[4])
