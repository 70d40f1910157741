"""The least value the Barlow Twins loss can take for a batch size and dimension.

After its columns are centered, a batch of N rows has rank N - 1 at most, and so has C.
A matrix of that rank with diagonal c has ||C||_F^2 >= D^2 c^2 / (N - 1), so where D
exceeds N - 1 the off-diagonal elements cannot all vanish while the diagonal stays 1.
For lambda <= 1 the minimum over c gives

    loss >= D k / (1 + k)  at  C_ii = 1 / (1 + k),  k = lambda (D / (N - 1) - 1);

for lambda > 1 the floor is that of lambda = 1. A loss that looks stuck in the thousands
is often just at this floor.

The HSIC objective has a floor of its own, whatever the batch size: features cannot all
be opposite to each other.
"""

from __future__ import annotations

import tensorflow as tf


def barlow_twins_floor(
    batch_size: int | tf.Tensor,
    dimension: int | tf.Tensor,
    off_diagonal_weight: float | tf.Tensor,
) -> tf.Tensor:
    """Returns the least value that the loss can take.

    Example:
        >>> round(float(tfrsb.losses.barlow_twins_floor(64, 8192, 5e-3)), 1)
        3212.5
        >>> float(tfrsb.losses.barlow_twins_floor(256, 128, 5e-3))
        0.0

    Args:
        batch_size: The rows N of the (global) batch, at least 2.
        dimension: The columns D of the embeddings.
        off_diagonal_weight: lambda, at least 0.

    Returns:
        The floor, a float32 scalar: 0 where D < N.
    """
    pressure = _pressure(batch_size, dimension, off_diagonal_weight)
    return tf.cast(dimension, tf.float32) * pressure / (1 + pressure)


def hsic_floor(
    dimension: int | tf.Tensor, off_diagonal_weight: float | tf.Tensor
) -> tf.Tensor:
    """Returns the least value of the loss with the objective `"hsic"`.

    4 D lambda / (lambda + 4 (D - 1) / (D - 2)^2), from D (1 - c)^2 + lambda D (D - 1)
    (1 + o)^2 under the constraint (D - 2) c - 2 (D - 1) o <= D, which the means c and o
    of the diagonal and the other elements of C obey. It is derived in docs/loss.md.

    Example:
        >>> round(float(tfrsb.losses.hsic_floor(512, 5e-3)))
        796

    Args:
        dimension: The columns D of the embeddings.
        off_diagonal_weight: lambda, at least 0.

    Returns:
        The floor, a float32 scalar: 0 where D < 3.
    """
    dimension = tf.cast(dimension, tf.float32)
    weight = tf.cast(off_diagonal_weight, tf.float32)
    slack = 4 * (dimension - 1) * tf.square(tf.math.reciprocal_no_nan(dimension - 2))
    floor = 4 * dimension * tf.math.divide_no_nan(weight, weight + slack)
    return tf.where(dimension < 3, 0.0, floor)


def optimal_invariance(
    batch_size: int | tf.Tensor,
    dimension: int | tf.Tensor,
    off_diagonal_weight: float | tf.Tensor,
) -> tf.Tensor:
    """Returns the correlation C_ii of the two views at the floor: the most to hope for.

    Example:
        >>> round(float(tfrsb.losses.optimal_invariance(64, 8192, 5e-3)), 2)
        0.61

    Args:
        batch_size: The rows N of the (global) batch, at least 2.
        dimension: The columns D of the embeddings.
        off_diagonal_weight: lambda, from 0 to below 1. (From 1 on, only the mean of
            the C_ii is determined, as (N - 1) / D.)

    Returns:
        The optimum of every C_ii, a float32 scalar in (0, 1].
    """
    return 1 / (1 + _pressure(batch_size, dimension, off_diagonal_weight))


def weight_for_invariance(
    target_invariance: float, batch_size: int, dimension: int
) -> float:
    """Returns the weight at whose optimum the views correlate by `target_invariance`.

    Example:
        >>> weight = tfrsb.losses.weight_for_invariance(0.9, 64, 8192)
        >>> round(float(tfrsb.losses.optimal_invariance(64, 8192, weight)), 4)
        0.9

    Args:
        target_invariance: The wanted C_ii, in (0, 1).
        batch_size: The rows N of the (global) batch, at least 2.
        dimension: The columns D of the embeddings; more than N - 1.

    Returns:
        The `off_diagonal_weight`.

    Raises:
        ValueError: If `target_invariance` is outside (0, 1); if D <= N - 1, where the
            optimum is 1 at any weight; or if it would take a weight above 1, which no
            longer decides it.
    """
    if not 0 < target_invariance < 1:
        raise ValueError(
            f"target_invariance must lie in (0, 1), but it is {target_invariance}."
        )
    if batch_size < 2 or dimension <= batch_size - 1:
        raise ValueError(
            "Only where the dimension exceeds batch_size - 1 does the weight decide "
            "the invariance that can be reached, but batch_size is "
            f"{batch_size} and dimension {dimension}."
        )
    weight = (1 / target_invariance - 1) / (dimension / (batch_size - 1) - 1)
    if weight > 1:
        raise ValueError(
            f"target_invariance={target_invariance} at batch_size={batch_size} and "
            f"dimension={dimension} would take a weight of {weight:.3g}, but from 1 on "
            "the weight no longer decides it."
        )
    return weight


def _pressure(
    batch_size: int | tf.Tensor,
    dimension: int | tf.Tensor,
    off_diagonal_weight: float | tf.Tensor,
) -> tf.Tensor:
    """Returns k, by how much the lack of rows pushes the diagonal below 1."""
    rank = tf.cast(batch_size, tf.float32) - 1
    excess = tf.cast(dimension, tf.float32) / rank - 1
    weight = tf.minimum(tf.cast(off_diagonal_weight, tf.float32), 1.0)
    return weight * tf.maximum(excess, 0.0)
