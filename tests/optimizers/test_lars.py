"""LARS: equal to its formulas in NumPy, wherever it runs and however it is restored."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.optimizers import LARS

SETTINGS = {
    "momentum": 0.8,
    "weight_decay": 0.05,
    "trust_coefficient": 0.01,
    "bias_learning_rate_factor": 0.1,
}
SHAPES = {
    "dense/kernel": [3, 2],
    "dense/bias": [2],
    "norm/gamma": [4],
    "gru_cell/bias": [2, 3],  # As Keras has it.
    "biased/embeddings": [5, 2],
    "zeros/kernel": [2, 2],
    "scalar": [],
}
MATRICES = {"dense/kernel", "biased/embeddings", "zeros/kernel"}
STEPS = 5


def values(seed):
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    return {name: np.asarray(value, np.float32) for name, value in drawn.items()}


def start():
    return {**values(0), "zeros/kernel": np.zeros([2, 2], np.float32)}


def rate(step):
    """Returns `schedule`: two steps of warm-up, then a half cosine over four."""
    return step / 2 if step < 2 else 0.5 * (1 + np.cos(np.pi * (step - 2) / 4))


def schedule():
    return tf.keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=4, warmup_target=1.0, warmup_steps=2
    )


def in_numpy(steps=STEPS, replicas=1):
    """What LARS makes of the weights, in float64."""
    weights = {name: value.astype(np.float64) for name, value in start().items()}
    momenta = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for step in range(steps):
        gradients = [
            values(1 + step * replicas + replica) for replica in range(replicas)
        ]
        for name, weight in weights.items():
            gradient = sum(one[name].astype(np.float64) for one in gradients)
            factor = 0.1
            if name in MATRICES:
                factor = 1.0
                gradient = gradient + 0.05 * weight
                norm = np.sqrt((weight**2).sum())
                if norm > 0:
                    gradient = gradient * 0.01 * norm / np.sqrt((gradient**2).sum())
            momenta[name] = 0.8 * momenta[name] + gradient
            weights[name] = weight - rate(step) * factor * momenta[name]
    return weights


def variables():
    return [tf.Variable(value, name=name) for name, value in start().items()]


def gradients(seed):
    return [tf.constant(value) for value in values(seed).values()]


def assert_equal(ours, expected):
    for variable, (name, value) in zip(ours, expected.items(), strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-5, atol=1e-6, err_msg=name)


def run(optimizer, weights, step=None, first=0, steps=STEPS):
    optimizer.build(weights)
    step = step or (lambda *pairs: optimizer.apply_gradients(pairs))
    for number in range(first, steps):
        step(*zip(gradients(1 + number), weights, strict=True))
    return weights


def test_equals_its_formulas() -> None:
    assert_equal(run(LARS(schedule(), **SETTINGS), variables()), in_numpy())


def test_under_xla() -> None:
    optimizer, weights = LARS(schedule(), **SETTINGS), variables()

    @tf.function(jit_compile=True)
    def compiled(*given):
        optimizer.apply_gradients(zip(given, weights, strict=True))

    def step(*pairs):
        compiled(*[gradient for gradient, _ in pairs])

    assert_equal(run(optimizer, weights, step), in_numpy())


def test_with_updates_that_keras_compiles() -> None:
    optimizer = LARS(schedule(), **SETTINGS)
    optimizer.jit_compile = True  # Which Keras does by itself on a GPU only.
    assert_equal(run(optimizer, variables()), in_numpy())


def test_sparse_gradients_are_those_of_the_whole_table() -> None:
    table = [tf.Variable(start()["biased/embeddings"], name="embeddings")]
    expected = [tf.Variable(table[0])]
    indices, rows = [3, 1, 3], tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    dense = tf.scatter_nd([[index] for index in indices], rows, [5, 2])
    for weights, gradient in (
        (table, tf.IndexedSlices(rows, indices, [5, 2])),
        (expected, dense),
    ):
        optimizer = LARS(1.0, **SETTINGS)
        for _ in range(3):
            optimizer.apply_gradients([(gradient, weights[0])])
    np.testing.assert_allclose(table[0], expected[0], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_first_step_is_a_share_of_the_weight_whatever_the_gradient(
    scale: float,
) -> None:
    weight = tf.Variable([[3.0, 4.0]])
    gradient = tf.constant([[0.0, -2.0 * scale]])
    LARS(0.5, weight_decay=0).apply_gradients([(gradient, weight)])
    np.testing.assert_allclose(weight, [[3.0, 4.0 + 0.5 * 1e-3 * 5]], rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tfrsb.layers.GRUEncoder(10, embedding_dim=4, output_dim=4),
        lambda: tfrsb.layers.TransformerEncoder(10, embedding_dim=4, output_dim=4),
        lambda: tf.keras.layers.MultiHeadAttention(2, 3),
        lambda: tfrsb.layers.Projector([4, 4]),
    ],
)
def test_biases_and_norms_of_real_layers_are_recognized(make: Any) -> None:
    layer = make()
    if isinstance(layer, tf.keras.layers.MultiHeadAttention):
        layer(tf.ones([2, 3, 4]), tf.ones([2, 3, 4]))
    else:
        layer.build([2, 4])
    weights = layer.trainable_variables
    before = [weight.numpy() for weight in weights]
    optimizer = LARS(1.0, bias_learning_rate_factor=2.0)
    optimizer.apply_gradients([(tf.ones_like(weight), weight) for weight in weights])
    moved = {
        weight.name
        for weight, old in zip(weights, before, strict=True)
        if np.allclose(weight, old - 2.0)
    }
    last = {weight.name: weight.name.split("/")[-1] for weight in weights}
    assert moved == {
        name for name, end in last.items() if end in ("bias:0", "beta:0", "gamma:0")
    }
    assert 0 < len(moved) < len(weights)


def test_a_variable_may_be_left_without_decay() -> None:
    weight = tf.Variable([[3.0, 4.0]], name="kernel")
    optimizer = LARS(1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    # The decay would be all of the gradient; without it there is nothing to do.
    optimizer.apply_gradients([(tf.zeros([1, 2]), weight)])
    np.testing.assert_array_equal(weight, [[3.0, 4.0]])


@pytest.mark.parametrize("learning_rate", [0.3, schedule()], ids=["number", "schedule"])
def test_survives_serialization(learning_rate: Any) -> None:
    optimizer = LARS(learning_rate, **SETTINGS, global_clipnorm=1.5, use_ema=True)
    config = tf.keras.optimizers.serialize(optimizer)
    again = tf.keras.optimizers.deserialize(
        json.loads(json.dumps(config, default=float))
    )
    assert isinstance(again, LARS)
    assert again.get_config() == optimizer.get_config()
    assert again.weight_decay == 0.05
    expected = run(optimizer, variables())
    assert_equal(run(again, variables()), dict(zip(SHAPES, expected, strict=True)))


def test_a_restored_run_ends_where_the_unbroken_one_does(
    tmp_path: pathlib.Path,
) -> None:
    optimizer, weights = LARS(schedule(), **SETTINGS), variables()
    run(optimizer, weights, steps=2)
    path = tf.train.Checkpoint(o=optimizer, w=weights).write(str(tmp_path / "backup"))
    again, restored = LARS(schedule(), **SETTINGS), variables()
    again.build(restored)
    tf.train.Checkpoint(o=again, w=restored).read(path).assert_consumed()
    assert_equal(run(again, restored, first=2), in_numpy())


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1e-6),
        ("trust_coefficient", 0.0),
        ("trust_coefficient", float("nan")),
        ("bias_learning_rate_factor", -1.0),
    ],
)
def test_bad_arguments_are_named(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be .*but it is {value}"):
        LARS(**{argument: value})


def test_two_replicas_sum_their_gradients() -> None:
    """In a fresh process: see tests/tasks/distributed_run.py."""
    ended = subprocess.run(
        [sys.executable, "-c", ON_TWO_REPLICAS, pathlib.Path(__file__).parent],
        env={
            **os.environ,
            "TF_USE_LEGACY_KERAS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    replicas = json.loads(ended.stdout.splitlines()[-1])
    assert len(replicas) == 2
    for weights in replicas:
        assert_equal(weights, in_numpy(replicas=2))


ON_TWO_REPLICAS = """
import json, sys
import tensorflow as tf

sys.path.insert(0, sys.argv[1])
import test_lars

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    weights = test_lars.variables()
    optimizer = test_lars.LARS(test_lars.schedule(), **test_lars.SETTINGS)
    optimizer.build(weights)

@tf.function
def step(gradients):
    strategy.run(lambda own: optimizer.apply_gradients(zip(own, weights)), [gradients])

for number in range(test_lars.STEPS):
    step(
        strategy.experimental_distribute_values_from_function(
            lambda context: test_lars.gradients(
                1 + 2 * number + context.replica_id_in_sync_group
            )
        )
    )
print(json.dumps([
    [strategy.experimental_local_results(weight)[replica].numpy().tolist()
     for weight in weights]
    for replica in range(2)
]))
"""
