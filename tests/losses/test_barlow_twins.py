"""The Barlow Twins loss, worked out by hand, and its options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.losses import barlow_twins_loss

# Its columns have mean 0 and variance 1, and do not correlate: C is the identity.
VIEW = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


@pytest.mark.parametrize("algorithm", ["direct", "gram"])
@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (VIEW, 0.0),
        # C = -I: each diagonal element is 2 away from 1.
        (-VIEW, 2 * 2**2),
        # C = [[0, 1], [1, 0]]: the diagonal is missed by 1, both others are 1.
        (VIEW[:, ::-1], 2 * 1 + 0.25 * 2),
        # C = [[1, 1], [0, 0]]: the second feature copies the first.
        (VIEW[:, [0, 0]], 1 + 0.25 * 1),
    ],
)
def test_by_hand(second: Any, expected: Any, algorithm: str) -> None:
    loss = barlow_twins_loss(
        VIEW, second, off_diagonal_weight=0.25, epsilon=0.0, algorithm=algorithm
    )
    assert float(loss) == pytest.approx(expected, abs=1e-12)


def test_epsilon_is_inside_the_root() -> None:
    # With variance 1 the correlation of a view with itself is 1 / (1 + epsilon).
    loss = barlow_twins_loss(VIEW, VIEW, epsilon=0.25)
    assert float(loss) == pytest.approx(2 * (1 - 1 / 1.25) ** 2, abs=1e-12)


def test_auto_weight_is_one_by_dim() -> None:
    swapped = VIEW[:, ::-1]
    automatic = barlow_twins_loss(VIEW, swapped, off_diagonal_weight="auto")
    explicit = barlow_twins_loss(VIEW, swapped, off_diagonal_weight=0.5)
    assert float(automatic) == float(explicit)


def test_scale_multiplies() -> None:
    once = barlow_twins_loss(VIEW, -VIEW)
    assert float(barlow_twins_loss(VIEW, -VIEW, scale=0.1)) == pytest.approx(
        0.1 * float(once)
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"off_diagonal_weight": -0.1}, ValueError),
        ({"off_diagonal_weight": float("nan")}, ValueError),
        ({"off_diagonal_weight": "automatic"}, ValueError),
        ({"off_diagonal_weight": None}, TypeError),
        ({"scale": -1.0}, ValueError),
        ({"scale": "1"}, TypeError),
        ({"epsilon": -1.0}, ValueError),
        ({"algorithm": "fast"}, ValueError),
        ({"check_finite": 1}, TypeError),
    ],
)
def test_bad_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        barlow_twins_loss(VIEW, VIEW, **arguments)


def test_gradient_descent_decorrelates_and_aligns() -> None:
    tf.keras.utils.set_random_seed(1)
    first = tf.Variable(tf.random.normal([64, 8]))
    second = tf.Variable(tf.random.normal([64, 8]))
    optimizer = tf.keras.optimizers.Adam(0.05)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = barlow_twins_loss(first, second, off_diagonal_weight=0.1)
        variables = [first, second]
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    losses = [float(step()) for _ in range(120)]
    assert losses[0] > 5
    assert losses[-1] < 0.01
