"""Learning rates by layer, against steps worked out by hand."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.optimizers import LARS, discriminative

PiecewiseConstantDecay = tf.keras.optimizers.schedules.PiecewiseConstantDecay


def two_layers():
    """Two weights of one element each, both 1; the gradient of their sum is 1."""
    layers = [tf.keras.layers.Dense(1, use_bias=False) for _ in range(2)]
    for layer in layers:
        layer.build([None, 1])
        layer.kernel.assign([[1.0]])
    return layers


def step(optimizer, layers, gradient=1.0):
    weights = [layer.kernel for layer in layers]
    gradients = [tf.fill([1, 1], gradient) for _ in weights]
    before = [weight.numpy().item() for weight in weights]
    optimizer.apply_gradients(zip(gradients, weights, strict=True))
    return [w.numpy().item() - b for w, b in zip(weights, before, strict=True)]


@pytest.mark.parametrize(
    ("make", "distance"),
    [
        (lambda: tf.keras.optimizers.SGD(0.5), 0.5),
        (lambda: tf.keras.optimizers.SGD(0.5, momentum=0.9), 0.5),
        (lambda: tf.keras.optimizers.Adam(0.5, epsilon=0.0), 0.5),
        # The gradient is 1 and so is the weight: 0.5 of step, 0.5 * 0.2 of decay,
        # which comes first.
        (lambda: tf.keras.optimizers.AdamW(0.5, weight_decay=0.2, epsilon=0.0), 0.6),
        (lambda: tf.keras.optimizers.SGD(PiecewiseConstantDecay([9], [0.5, 0.1])), 0.5),
        # The norms of weight and gradient are equal.
        (lambda: LARS(0.5, trust_coefficient=1.0, weight_decay=0.0), 0.5),
    ],
    ids=["SGD", "momentum", "Adam", "AdamW", "schedule", "LARS"],
)
def test_a_step_is_as_many_times_as_long(make: Any, distance: float) -> None:
    layers = two_layers()
    optimizer = discriminative(make(), {layers[0]: 0.25})
    assert step(optimizer, layers) == pytest.approx([-distance / 4, -distance], 2e-5)


def test_without_multipliers_nothing_changes() -> None:
    moves = []
    for wrap in (lambda o: o, lambda o: discriminative(o, {})):
        layers = two_layers()
        optimizer = wrap(tf.keras.optimizers.Adam(0.1))
        moves.append([step(optimizer, layers, g) for g in (1.0, -3.0, 0.5)])
    assert moves[0] == moves[1]


def test_frozen_for_the_first_steps() -> None:
    layers = two_layers()
    schedule = PiecewiseConstantDecay([1], [0.0, 0.5])
    optimizer = discriminative(tf.keras.optimizers.SGD(0.1), {layers[0]: schedule})
    moves = [step(optimizer, layers)[0] for _ in range(3)]
    assert moves == pytest.approx([0.0, 0.0, -0.05], abs=1e-6)


def test_the_first_step_after_freezing_is_of_the_usual_size() -> None:
    layers = two_layers()
    schedule = PiecewiseConstantDecay([99], [0.0, 1.0])
    optimizer = discriminative(tf.keras.optimizers.Adam(0.01), {layers[0]: schedule})
    for _ in range(100):
        frozen, _ = step(optimizer, layers)
        assert frozen == 0
    assert step(optimizer, layers)[0] == pytest.approx(-0.01, rel=1e-3)


def test_in_compile_and_in_a_saved_model(tmp_path: pathlib.Path) -> None:
    layers = two_layers()
    model = tf.keras.Sequential(layers)
    schedule = PiecewiseConstantDecay([99], [0.0, 1.0])
    model.compile(
        discriminative(tf.keras.optimizers.SGD(0.1), {layers[0]: schedule}), "mse"
    )
    x = tf.ones([4, 1])
    model.fit(x, 3 * x, verbose=0)
    # The gradient is 2 * (1 - 3): on the second kernel, a step of 0.4.
    assert layers[0].kernel.numpy().item() == 1
    assert layers[1].kernel.numpy().item() == pytest.approx(1.4)
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    loaded.fit(x, 3 * x, verbose=0)
    assert int(loaded.optimizer.iterations) == 2
    assert loaded.layers[0].kernel.numpy().item() == 1
    assert loaded.layers[1].kernel.numpy().item() == pytest.approx(1.4 + 0.2 * 1.6)


def test_a_checkpoint_continues_where_it_stopped(tmp_path: pathlib.Path) -> None:
    def start():
        layers = two_layers()
        optimizer = discriminative(tf.keras.optimizers.Adam(0.1), {layers[0]: 0.1})
        optimizer.build([layer.kernel for layer in layers])
        return layers, optimizer, tf.train.Checkpoint(layers=layers, opt=optimizer)

    layers, optimizer, checkpoint = start()
    step(optimizer, layers, 3.0)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    unbroken = step(optimizer, layers)
    layers, optimizer, checkpoint = start()
    checkpoint.read(path).assert_consumed()
    assert step(optimizer, layers) == unbroken


def test_the_rate_of_the_others_can_be_read_and_set() -> None:
    layers = two_layers()
    optimizer = discriminative(tf.keras.optimizers.SGD(0.5), {layers[0]: 0.1})
    optimizer.learning_rate = 0.2
    assert float(optimizer.learning_rate) == pytest.approx(0.2)
    assert step(optimizer, layers) == pytest.approx([-0.02, -0.2], rel=1e-5)


def test_under_a_strategy() -> None:
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        layers = two_layers()
        optimizer = discriminative(
            tf.keras.optimizers.AdamW(0.5, weight_decay=0.2, epsilon=0.0),
            {layers[0]: 0.25},
        )
    weights = [layer.kernel for layer in layers]

    @tf.function
    def train():
        ones = [tf.ones([1, 1]) for _ in weights]
        strategy.run(lambda: optimizer.apply_gradients(zip(ones, weights, strict=True)))

    train()
    moves = [1 - weight.numpy().item() for weight in weights]
    assert moves == pytest.approx([0.15, 0.6], rel=1e-5)


def test_what_is_refused() -> None:
    layers = two_layers()
    sgd = tf.keras.optimizers.SGD
    for optimizer in (tf.keras.optimizers.Ftrl(), tf.keras.optimizers.legacy.SGD()):
        with pytest.raises(TypeError, match="optimizer must be"):
            discriminative(optimizer, {})
    with pytest.raises(TypeError, match="key of multipliers must be a Layer"):
        discriminative(sgd(), {"encoder": 0.1})
    with pytest.raises(ValueError, match=r"multipliers\[.*\] must be .* at least 0"):
        discriminative(sgd(), {layers[0]: -1})
    with pytest.raises(TypeError, match=r"multipliers\[.*\] must be a number"):
        discriminative(sgd(), {layers[0]: "0.1"})
    with pytest.raises(TypeError, match="multipliers must be a Mapping"):
        discriminative(sgd(), [0.1])
    with pytest.raises(TypeError, match="not discriminative already"):
        discriminative(discriminative(sgd(), {}), {})
    built = sgd()
    step(built, layers)
    with pytest.raises(ValueError, match="must be new"):
        discriminative(built, {})
    with pytest.raises(ValueError, match="trains no weight"):
        step(discriminative(sgd(), {two_layers()[0]: 0.1}), layers)
    around = tf.keras.Sequential(layers)
    around.build([None, 1])
    both = {layers[0]: 0.1, around: 0.2}
    with pytest.raises(ValueError, match="share a weight"):
        step(discriminative(sgd(), both), layers)
    with pytest.raises(ValueError, match="once the optimizer is built"):
        discriminative(sgd(), {layers[0]: 0.1}).get_config()


def test_weights_keep_their_exclusion_from_decay() -> None:
    layers = two_layers()
    adamw = tf.keras.optimizers.AdamW(0.5, weight_decay=0.2, epsilon=0.0)
    adamw.exclude_from_weight_decay(var_names=["kernel"])
    optimizer = discriminative(adamw, {layers[0]: 0.5})
    assert step(optimizer, layers) == pytest.approx([-0.25, -0.5], rel=2e-5)
    assert np.isfinite(float(optimizer.learning_rate))
