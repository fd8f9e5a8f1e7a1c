"""Checkpoints compared bit by bit."""

from __future__ import annotations

from trainers.checkpoints.checkpoint import load_checkpoint


def weights_of(path: str) -> dict[str, bytes]:
    """Returns the bytes of every tensor of a checkpoint by group and place (names count up within a process)."""
    checkpoint = load_checkpoint(path)
    groups = checkpoint.state["variables"]
    return {
        f"{group}/{i}": value.numpy().tobytes()
        for group in groups
        for i, value in enumerate(checkpoint.tensors(group).values())
    }
