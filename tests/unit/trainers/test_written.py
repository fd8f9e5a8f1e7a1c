"""Which variables a traced step changes; the oracle is to run it and look."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.models.written import written_variables


@pytest.mark.parametrize("jit", [False, True])
def test_written_variables_are_those_that_a_run_changes(jit):
    import keras
    import tensorflow as tf

    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8, trainable=False)(inputs)  # frozen, as a pretrained tower
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.BatchNormalization(trainable=False)(hidden)  # runs in inference mode
    model = keras.Model(inputs, keras.layers.SpectralNormalization(keras.layers.Dense(1))(hidden))
    fixed, counter = tf.Variable([1.0], trainable=False), tf.Variable([0.0], trainable=False)
    strategy = tf.distribute.get_strategy()
    forward = tf.function(lambda x: model(x, training=True), jit_compile=jit)

    def step(x):
        out = strategy.run(forward, args=(x,))
        tf.cond(tf.reduce_sum(out) > -1e9, lambda: counter.assign_add(fixed).op, lambda: tf.no_op())
        return out

    @tf.function(autograph=False)
    def steps(x):
        return tf.while_loop(lambda i, _: i < 2, lambda i, _: (i + 1, step(x)), (0, tf.zeros([16, 1])))[1]

    x = tf.random.normal([16, 4])
    candidates = [v.value for v in model.variables if v.value.dtype.is_floating] + [fixed, counter]
    before = [v.numpy() for v in candidates]
    steps(x)
    changed = [i for i, v in enumerate(candidates) if not np.array_equal(v.numpy(), before[i])]
    found = written_variables(steps.get_concrete_function(x), candidates, strategy.experimental_local_results)
    assert [i for i, v in enumerate(candidates) if any(v is one for one in found)] == changed
    assert 3 <= len(changed) < len(candidates) - 3
