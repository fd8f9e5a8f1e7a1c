"""What the workers of the group tests run: `train(directory, settings as JSON)`.

With `pause_s` each call takes that long, and none goes beyond a step that names a file in gates beside DIRECTORY: a test that hurts
the training in the middle removes that file when it is there, so that a busy machine cannot let the training end before.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


def train(directory: str, settings: str = "{}") -> None:
    from tests.support.models import build_dense, build_keras3, classification_columns
    from trainers import ArrayDataset, CheckpointConfig, Trainer, TrainerConfig

    said = json.loads(settings)
    pause_s = said.pop("pause_s", 0.0)
    records = said.pop("records", 1920)
    hasty = said.pop("hasty", False)
    every = said.pop("every_steps", 20)
    if said.pop("fails_on", None) == json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0):
        raise ValueError("my own mistake")
    build = build_dense if said.pop("dense", False) else build_keras3
    data = ArrayDataset(classification_columns(records))
    changes = {"label": "y", "global_batch_size": 32, "epochs": 3, "steps_per_call": 4, "tensorboard": False, **said}
    config = TrainerConfig(
        directory=directory, audit=True, checkpoint=CheckpointConfig(every_steps=every, keep=3), **changes
    )
    if pause_s:
        from trainers.loop.session import Session

        real, gates = Session.call, Path(directory).parent / "gates"

        def slow(self, *args):
            time.sleep(pause_s)
            while any(int(gate.name) <= self.state.step for gate in gates.glob("*")):
                time.sleep(0.02)
            return real(self, *args)

        Session.call = slow
    if hasty:
        from trainers.loop import session

        meet, last = session.all_committed, records * 3 // 32
        # The second worker is gone before the first one has its answer: the worst timing of the last meeting.
        session.all_committed = lambda at, placement, step: (
            os._exit(0) if placement.host == 1 and step == last else meet(at, placement, step)
        )
    Trainer(config, build, data).fit()
