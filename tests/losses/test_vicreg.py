"""VICReg, worked out by hand and against the textbook in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.losses import vicreg_loss

# Columns of mean 0, variance 4/3 (unbiased) and covariance 0.
VIEW = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def textbook(first, second, epsilon=1e-4):
    rows, dim = first.shape
    loss = 25 * tf.reduce_mean((first - second) ** 2)
    for view in (first, second):
        centered = view - tf.reduce_mean(view, axis=0)
        covariance = tf.matmul(centered, centered, transpose_a=True) / (rows - 1)
        variance = tf.linalg.diag_part(covariance)
        off = tf.linalg.set_diag(covariance, tf.zeros_like(variance))
        hinge = tf.nn.relu(1 - tf.sqrt(variance + epsilon))
        loss += 25 * tf.reduce_mean(hinge) / 2 + tf.reduce_sum(off**2) / dim
    return loss


@pytest.mark.parametrize("algorithm", ["direct", "gram"])
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (VIEW, VIEW, 0.0),
        (VIEW, -VIEW, 25 * 4),
        # Half the size: standard deviations of sqrt(1/3) in either view.
        (VIEW / 2, VIEW / 2, 25 * (1 - np.sqrt(1 / 3))),
        # The second feature copies the first: one covariance of 4/3, both ways.
        (VIEW[:, [0, 0]], VIEW[:, [0, 0]], 2 * 2 * (4 / 3) ** 2 / 2),
        # A constant view has no variance at all.
        (VIEW * 0, VIEW * 0, 25.0),
    ],
)
def test_by_hand(first: Any, second: Any, expected: Any, algorithm: str) -> None:
    loss = vicreg_loss(first, second, epsilon=0.0, algorithm=algorithm)
    assert float(loss) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("algorithm", ["direct", "gram", "auto"])
@pytest.mark.parametrize(("batch", "dim"), [(6, 3), (5, 12), (48, 64)])
def test_equals_the_textbook(batch: int, dim: int, algorithm: str) -> None:
    rng = np.random.default_rng(0)
    first = tf.constant(rng.normal(size=(batch, dim)) * 0.8 + 3)
    second = first + 0.3 * rng.normal(size=(batch, dim))
    results = []
    for loss_function in (
        textbook,
        lambda a, b: vicreg_loss(a, b, algorithm=algorithm),
    ):
        with tf.GradientTape() as tape:
            tape.watch([first, second])
            loss = loss_function(first, second)
        results.append((loss, *tape.gradient(loss, [first, second])))
    for actual, expected in zip(*reversed(results), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-13)


def test_integer_weights_equal_repetition() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 6, 4))
    counts = [1, 2, 0, 1, 3, 1]
    weighted = vicreg_loss(first, second, sample_weight=counts)
    expected = vicreg_loss(np.repeat(first, counts, 0), np.repeat(second, counts, 0))
    assert float(weighted) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("algorithm", ["gram", "auto"])
@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
def test_a_column_much_larger_than_the_others(algorithm: str, scale: float) -> None:
    view = np.random.default_rng(0).normal(size=(16, 32))
    view[:, 0] *= scale
    results = []
    for values, chosen in ((view.astype(np.float32), algorithm), (view, "direct")):
        values = tf.constant(values)
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = vicreg_loss(values, values, variance_weight=0.0, algorithm=chosen)
        results.append((loss, tape.gradient(loss, values)))
    (loss, gradient), (expected, expected_gradient) = results
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    largest = np.abs(expected_gradient).max()
    np.testing.assert_allclose(
        gradient / largest, expected_gradient / largest, atol=1e-5
    )


def test_the_gradient_of_a_constant_view_is_zero() -> None:
    view = tf.ones([4, 3])
    with tf.GradientTape() as tape:
        tape.watch(view)
        loss = vicreg_loss(view, view, epsilon=0.0)
    assert float(loss) == 25
    np.testing.assert_array_equal(tape.gradient(loss, view), tf.zeros([4, 3]))


@pytest.mark.parametrize("weights", [np.full(4, 0.25), np.zeros(4)])
def test_weights_that_leave_no_variance_are_refused(weights: Any) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 1 in sum"):
        vicreg_loss(VIEW, VIEW, sample_weight=weights)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_with_an_unknown_batch(jit_compile: bool) -> None:
    function = tf.function(
        vicreg_loss,
        input_signature=[tf.TensorSpec([None, 2])] * 2,
        jit_compile=jit_compile,
    )
    loss = function(tf.constant(VIEW, tf.float32), tf.constant(-VIEW, tf.float32))
    assert float(loss) == pytest.approx(100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"invariance_weight": -1.0}, "invariance_weight"),
        ({"variance_weight": -1.0}, "variance_weight"),
        ({"covariance_weight": float("nan")}, "covariance_weight"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"algorithm": "short"}, "algorithm"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vicreg_loss(VIEW, VIEW, **arguments)
