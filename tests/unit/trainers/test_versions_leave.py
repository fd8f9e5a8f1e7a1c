"""What a version leaves behind when it is let go: nothing that waits until Python comes to it, with that of many versions."""

import asyncio
import weakref

import numpy as np

from engine.machine.garbage import pause_collection
from tests.support.served_model import answers, example, metrics, rows, save_version
from trainers.serving.server import ModelConfig, ServeConfig
from trainers.serving.server.core import Core

SWAPS = 6


def test_a_version_is_gone_at_the_look_after_its_last_answer(tmp_path):
    config = ServeConfig(models=(ModelConfig(name="m", directory=str(tmp_path)),), grpc_port=None, rest_port=0)
    (row,) = rows(1)

    async def swapped():
        core, graphs = Core(config, metrics()), []
        for number in range(1, SWAPS + 1):
            save_version(tmp_path, number, bias=number)
            core.load()
            found = await core.predict("m", {"": np.array([example(row)], object)})
            np.testing.assert_allclose(found.outputs["outputs"], answers(row[None], number), rtol=1e-5)
            graphs.append(weakref.ref(found.version.loaded.signatures["serving_default"].graph))
            del found
            core.load()
        await core.drain()
        return [graph() is not None for graph in graphs]

    with pause_collection():
        held = asyncio.run(swapped())
    assert held == [False] * (SWAPS - 1) + [True]
