"""The floor of the loss: it holds, and it is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.losses import (
    barlow_twins_floor,
    barlow_twins_loss,
    cross_correlation_terms,
    optimal_invariance,
    weight_for_invariance,
)


def test_by_hand() -> None:
    # D / (N - 1) - 1 = 2, so k = 1 and the optimum is half way.
    assert float(barlow_twins_floor(3, 6, 0.5)) == pytest.approx(6 * 0.5)
    assert float(optimal_invariance(3, 6, 0.5)) == pytest.approx(0.5)


@pytest.mark.parametrize("dim", [1, 15])
def test_there_is_none_if_the_batch_is_large(dim: int) -> None:
    assert float(barlow_twins_floor(16, dim, 0.5)) == 0
    assert float(optimal_invariance(16, dim, 0.5)) == 1


@pytest.mark.parametrize(("batch", "dim", "weight"), [(8, 64, 0.05), (16, 32, 0.5)])
def test_free_optimization_ends_at_the_floor(
    batch: int, dim: int, weight: float
) -> None:
    views = [tf.Variable(tf.random.normal([batch, dim])) for _ in range(2)]
    optimizer = tf.keras.optimizers.Adam(0.05)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = barlow_twins_loss(*views, off_diagonal_weight=weight, epsilon=0.0)
        optimizer.apply_gradients(zip(tape.gradient(loss, views), views, strict=True))
        return loss

    losses = np.array([float(step()) for _ in range(600)])
    floor = float(barlow_twins_floor(batch, dim, weight))
    assert losses.min() >= floor * (1 - 1e-5)
    assert losses[-1] == pytest.approx(floor, rel=5e-3)
    diagonal = cross_correlation_terms(*views, epsilon=0.0).diagonal
    invariance = float(optimal_invariance(batch, dim, weight))
    assert float(tf.reduce_mean(diagonal)) == pytest.approx(invariance, rel=0.02)


def test_weights_above_one_change_nothing_more() -> None:
    assert float(barlow_twins_floor(8, 32, 2.0)) == pytest.approx(32 - 7)
    assert float(barlow_twins_floor(8, 32, 1.0)) == pytest.approx(32 - 7)


@pytest.mark.parametrize("target", [0.5, 0.9, 0.99])
def test_weight_for_invariance_inverts_the_optimum(target: float) -> None:
    weight = weight_for_invariance(target, 64, 2048)
    assert float(optimal_invariance(64, 2048, weight)) == pytest.approx(target)


@pytest.mark.parametrize(
    ("target", "batch", "dim", "message"),
    [
        (1.0, 64, 2048, "target_invariance"),
        (0.0, 64, 2048, "target_invariance"),
        (0.9, 64, 63, "dimension is at least batch_size, but they are 63 and 64"),
        (0.01, 64, 128, "weight of"),
    ],
)
def test_bad_target(target: float, batch: int, dim: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weight_for_invariance(target, batch, dim)


@pytest.mark.parametrize("function", [barlow_twins_floor, optimal_invariance])
@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ((1, 8, 0.1), ValueError, "batch_size"),
        ((2.5, 8, 0.1), TypeError, "batch_size"),
        ((8, 0, 0.1), ValueError, "dimension"),
        ((8, 16, -0.1), ValueError, "off_diagonal_weight"),
        ((8, 16, "auto"), TypeError, "off_diagonal_weight"),
    ],
)
def test_bad_arguments_are_named(
    function: Callable[..., tf.Tensor],
    arguments: tuple[Any, ...],
    error: type[Exception],
    name: str,
) -> None:
    with pytest.raises(error, match=name):
        function(*arguments)
