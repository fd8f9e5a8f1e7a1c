"""How many accelerators one host keeps busy: two shapes after MLPerf Storage, DLRM's click logs and Flux's latent images.

An accelerator is simulated by its step time: it takes a batch, is busy for that time, takes the next. A accelerators of step time s that
share one feed take a batch every s / A; the figure is the A that takes nine tenths of what the feed gives, A = 0.9 × s × rate, so that
the feed stays ahead. (To be busy for 90 % of the time, as MLPerf Storage asks, they may be more, s × rate / 0.9: all figures by the same
factor.) The case then runs a consumer with that period and notes its utilisation, busy time over all time, where the data have batches
enough. Two rates: on the clock, and of one core's processor time, which other programs disturb less. Step times are settings of this
case, not measurements of an accelerator: the figures of two readers compare, their height goes with the step time. Ours reads Parquet,
tf.data reads TFRecord.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.data import transformed
from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import Timing, paired
from cluster.benchmarking.results import record_pair
from engine import Dataset, write_batches

pytestmark = pytest.mark.timeout(3600)
ROWS = min(int(os.environ.get("FULLPASS_BENCH_FEED_ROWS", "400000")), 1_000_000)
PEER_ROWS = min(ROWS, 100_000)
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
SHARE = 0.9  # of what a feed gives


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """A workload.

    Args:
        batch: samples of a step.
        step_s: how long a simulated accelerator works at one.
    """

    batch: int
    step_s: float


DLRM = Shape(batch=8192, step_s=0.1)
FLUX = Shape(batch=48, step_s=0.5)
FLUX_ROWS, LATENT_BYTES, TEXT_BYTES = 480, 16 * 64 * 64 * 2, 256 * 4096 // 8


def of_feed(dataset: Dataset, shape: Shape) -> Iterator[tuple[int, Any]]:
    """Our shuffled feed: (samples, batch)."""
    for packed in dataset.feed(global_batch_size=shape.batch, seed=1, num_epochs=1, window_records=8 * shape.batch):
        yield shape.batch, packed


def of_tf_data(paths: list[str], shape: Shape, spec: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """tf.data over TFRecord, as TensorFlow's guides write it."""
    import tensorflow as tf

    records = tf.data.Dataset.from_tensor_slices(paths).interleave(
        tf.data.TFRecordDataset, cycle_length=16, num_parallel_calls=tf.data.AUTOTUNE
    )
    batches = records.shuffle(8 * shape.batch, seed=1).batch(shape.batch, drop_remainder=True)
    for batch in batches.map(lambda x: tf.io.parse_example(x, spec), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE):
        yield shape.batch, batch


def of_grain(paths: list[str], shape: Shape) -> Iterator[tuple[int, Any]]:
    """grain over ArrayRecord files of packed rows."""
    import grain

    from benchmarks.peers.readers import split_row

    rows = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(paths)).shuffle(seed=1).map(split_row)
    # Its threads take turns at the interpreter's lock: on two cores it is faster without them.
    options = grain.ReadOptions(num_threads=0)
    for batch in rows.batch(shape.batch, drop_remainder=True).to_iter_dataset(options):
        yield shape.batch, batch


def drained(batches: Callable[[], Iterator[tuple[int, Any]]], wanted: int) -> Timing:
    """Takes every batch, checks how many samples came, and returns the seconds of a sample."""
    wall, cpu = time.perf_counter(), time.process_time()
    got = sum(samples for samples, _ in batches())
    assert got == wanted, f"{got} samples, not {wanted}"
    return Timing(wall_s=(time.perf_counter() - wall) / got, cpu_s=(time.process_time() - cpu) / got)


def utilisation(batches: Iterator[tuple[int, Any]], period_s: float, steps: int) -> float:
    """Returns the share of time that consumers which take a batch every `period_s` together are busy."""
    next(batches)  # starting up is no part of it
    start, waited = time.perf_counter(), 0.0
    for _ in range(steps):
        began = time.perf_counter()
        if next(batches, None) is None:
            raise AssertionError("fewer batches than steps")
        waited += time.perf_counter() - began
        time.sleep(period_s)
    return 1 - waited / (time.perf_counter() - start)


def compare(benchmark, name: str, shape: Shape, peer_name: str, ours, peer, samples: int, peer_samples: int) -> None:
    def whole(count: int) -> int:
        return count // shape.batch * shape.batch

    result = paired(
        lambda: drained(ours, whole(samples)), lambda: drained(peer, whole(peer_samples)), ROUNDS, warm_up=True
    )
    what = f"{name}: accelerators a host keeps busy"
    record_pair(benchmark, result, PEERS[peer_name].title, what=what, package=PEERS[peer_name].package)
    found = {}
    for side, wall, cpu in (("ours", result.ours_s, result.ours_cpu_s), ("peer", result.peer_s, result.peer_cpu_s)):
        per_step = SHARE * shape.step_s / shape.batch
        found[f"accelerators_{side}"] = round(per_step / wall, 2)
        found[f"accelerators_{side}_a_core"] = round(per_step / cpu, 2)
    served = max(1, int(found["accelerators_ours"]))
    steps = min(100, samples // shape.batch - 2)
    if steps > 0:
        shares = [utilisation(ours(), shape.step_s / served, steps) for _ in range(3)]
        found[f"utilisation_of_{served}"] = round(statistics.median(shares), 3)
    benchmark.extra_info.update(step_s=shape.step_s, batch=shape.batch, **found)
    print(f"{name} beside {peer_name}: {found}")
    benchmark.pedantic(lambda: sum(1 for _ in itertools.islice(ours(), 4)), rounds=1)


@pytest.mark.parametrize("peer_name", ["tf.data", pytest.param("grain", marks=pytest.mark.full)])
def test_dlrm(benchmark, peer_name):
    dataset = transformed.parquet(ROWS)
    if peer_name == "grain":
        pytest.importorskip("grain")
        paths = transformed.array_records(PEER_ROWS)
        peer = lambda: of_grain(paths, DLRM)
    else:
        records = transformed.tfrecords(PEER_ROWS)
        peer = lambda: of_tf_data(records.paths, DLRM, records.feature_spec())
    compare(benchmark, "DLRM's shape", DLRM, peer_name, lambda: of_feed(dataset, DLRM), peer, ROWS, PEER_ROWS)


def latents(count: int) -> Iterator[pa.RecordBatch]:
    """Yields images as latents of 128 KiB with text embeddings of 128 KiB."""
    rng = np.random.default_rng(9)
    for _ in range(count // FLUX.batch):
        columns = [pa.array([rng.bytes(size) for _ in range(FLUX.batch)]) for size in (LATENT_BYTES, TEXT_BYTES)]
        schema = pa.schema([pa.field(name, pa.binary(), False) for name in ("latent", "text")])
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def test_flux(benchmark, tmp_path):
    batches = list(latents(FLUX_ROWS))
    for format in ("parquet", "tfrecord"):
        (tmp_path / format).mkdir()
        for shard in range(4):
            path = tmp_path / format / f"{shard}.{format}"
            write_batches(batches[shard::4], batches[0].schema, str(path), format)
    dataset, records = Dataset.open(str(tmp_path / "parquet")), Dataset.open(str(tmp_path / "tfrecord"))
    compare(
        benchmark,
        "Flux's shape",
        FLUX,
        "tf.data",
        lambda: of_feed(dataset, FLUX),
        lambda: of_tf_data(records.paths, FLUX, records.feature_spec()),
        FLUX_ROWS,
        FLUX_ROWS,
    )
