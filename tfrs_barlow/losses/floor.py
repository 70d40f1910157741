"""The least value the Barlow Twins loss can take for a batch size and dimension.

After its columns are centered, a batch of N rows has rank N - 1 at most, and so has C.
A matrix of that rank with diagonal c has ||C||_F^2 >= D^2 c^2 / (N - 1), so if D
exceeds N - 1, the off-diagonal elements cannot all vanish while the diagonal stays 1.
For lambda <= 1 the minimum over c gives

    loss >= D k / (1 + k)  at  C_ii = 1 / (1 + k),  k = lambda (D / (N - 1) - 1);

for lambda > 1 the floor is that of lambda = 1. A loss that looks stuck in the thousands
is often just at this floor.
"""

from __future__ import annotations

import tensorflow as tf

from tfrs_barlow import _checks


def barlow_twins_floor(
    batch_size: int | tf.Tensor,
    dimension: int | tf.Tensor,
    off_diagonal_weight: float | tf.Tensor,
) -> tf.Tensor:
    """Returns the least value that the loss can take.

    Args:
        batch_size: The rows N of the (global) batch, at least 2.
        dimension: The columns D of the embeddings, at least 1.
        off_diagonal_weight: lambda, at least 0.

    Returns:
        The floor, a float32 scalar: 0 if D < N.

    Examples:
        >>> round(float(tfrsb.losses.barlow_twins_floor(64, 8192, 5e-3)), 1)
        3212.5
        >>> float(tfrsb.losses.barlow_twins_floor(256, 128, 5e-3))
        0.0
    """
    pressure = _pressure(batch_size, dimension, off_diagonal_weight)
    return tf.cast(dimension, tf.float32) * pressure / (1 + pressure)


def optimal_invariance(
    batch_size: int | tf.Tensor,
    dimension: int | tf.Tensor,
    off_diagonal_weight: float | tf.Tensor,
) -> tf.Tensor:
    """Returns the correlation C_ii of the two views at the floor, the best possible.

    Args:
        batch_size: The rows N of the (global) batch, at least 2.
        dimension: The columns D of the embeddings, at least 1.
        off_diagonal_weight: lambda, at least 0. (From 1 on, only the mean of the C_ii
            is determined, as (N - 1) / D.)

    Returns:
        The optimum of every C_ii, a float32 scalar in (0, 1].

    Examples:
        >>> round(float(tfrsb.losses.optimal_invariance(64, 8192, 5e-3)), 2)
        0.61
    """
    return 1 / (1 + _pressure(batch_size, dimension, off_diagonal_weight))


def weight_for_invariance(
    target_invariance: float, batch_size: int, dimension: int
) -> float:
    """Returns the weight at whose optimum the views correlate by `target_invariance`.

    Args:
        target_invariance: The wanted C_ii, in (0, 1).
        batch_size: The rows N of the (global) batch, at least 2.
        dimension: The columns D of the embeddings; more than N - 1.

    Returns:
        The `off_diagonal_weight`.

    Raises:
        ValueError: If D <= N - 1, where the optimum is 1 at any weight, or the weight
            would have to exceed 1, from where on it no longer decides the optimum.

    Examples:
        >>> weight = tfrsb.losses.weight_for_invariance(0.9, 64, 8192)
        >>> round(float(tfrsb.losses.optimal_invariance(64, 8192, weight)), 4)
        0.9
    """
    _checks.number("target_invariance", target_invariance, above=0, below=1)
    _checks.integer("batch_size", batch_size, at_least=2)
    _checks.integer("dimension", dimension, at_least=1)
    if dimension < batch_size:
        raise ValueError(
            "The weight decides the invariance only if dimension is at least "
            f"batch_size, but they are {dimension} and {batch_size}."
        )
    weight = (1 / target_invariance - 1) / (dimension / (batch_size - 1) - 1)
    if weight > 1:
        raise ValueError(
            f"target_invariance={target_invariance} at batch_size={batch_size} and "
            f"dimension={dimension} would need a weight of {weight:.3g}, but above 1 "
            "the weight no longer decides it."
        )
    return weight


def _pressure(
    batch_size: int | tf.Tensor,
    dimension: int | tf.Tensor,
    off_diagonal_weight: float | tf.Tensor,
) -> tf.Tensor:
    """Returns k, which measures how far the lack of rows pushes the C_ii below 1."""
    if not tf.is_tensor(batch_size):
        _checks.integer("batch_size", batch_size, at_least=2)
    if not tf.is_tensor(dimension):
        _checks.integer("dimension", dimension, at_least=1)
    if not tf.is_tensor(off_diagonal_weight):
        _checks.number("off_diagonal_weight", off_diagonal_weight, at_least=0)
    rank = tf.cast(batch_size, tf.float32) - 1
    excess = tf.cast(dimension, tf.float32) / rank - 1
    weight = tf.minimum(tf.cast(off_diagonal_weight, tf.float32), 1.0)
    return weight * tf.maximum(excess, 0.0)
