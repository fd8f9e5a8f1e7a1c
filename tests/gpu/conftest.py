"""All of this folder needs a GPU; on a machine without one it is skipped, with the reason."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def gpu():
    """The first GPU, with memory growth: TensorFlow would take all of it."""
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    if not found:
        built = "with" if tf.test.is_built_with_cuda() else "without"
        pytest.skip(f"no GPU: TensorFlow {tf.__version__}, built {built} CUDA, sees none (see docs/gpu.md)")
    for device in found:
        tf.config.experimental.set_memory_growth(device, True)
    return found[0]
