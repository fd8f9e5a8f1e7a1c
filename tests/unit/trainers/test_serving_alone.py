"""Requests that are run by themselves: no more of them wait than batches may, and they are in the figures."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from trainers.serving.server.batcher import Batcher
from trainers.serving.server.config import BatchingConfig
from trainers.serving.server.errors import Overloaded
from trainers.serving.server.signatures import Signature


def test_requests_that_are_run_alone_are_refused_beyond_the_queue():
    begun, free, figures = threading.Event(), threading.Event(), []

    def function(**tensors):
        begun.set()
        assert free.wait(60)
        return {}

    config = BatchingConfig(enable_batching=False, num_batch_threads=1, max_enqueued_batches=2)

    async def ask(pool):
        batcher = Batcher(Signature("s", {}, {}, function), config, pool, lambda *batch: figures.append(batch))

        def call(rows):
            return asyncio.create_task(batcher.call({}, rows))

        calls = [call(5)]
        await asyncio.to_thread(begun.wait, 60)
        calls += [call(6), call(7)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="try again later"):
            await call(8)
        calls[2].cancel()
        await asyncio.wait(calls[2:])
        calls[2] = call(9)  # in the place of a client that went away
        await asyncio.sleep(0)
        free.set()
        return await asyncio.gather(*calls)

    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(ask(pool)) == [{}] * 3
    assert figures == [(5, 0), (6, 9), (9, 0)]


def test_a_fixed_first_size_is_no_rows():
    from trainers.serving.server.signatures import TensorSpec

    for shape, rows in (((None, 3), True), ((None,), True), (None, True), ((3,), False), ((), False)):
        spec = TensorSpec(np.dtype(np.float32), None, shape)
        assert Signature("s", {"x": spec}, {}, None).has_rows is rows
