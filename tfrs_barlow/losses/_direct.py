"""The correlations of two views by way of the matrix C = A'B, and the way back."""

from __future__ import annotations

import tensorflow as tf

from tfrs_barlow.losses._paths import Reduce
from tfrs_barlow.losses._standardize import standardize
from tfrs_barlow.losses.correlation import Correlation, Gradient


def correlation_by_matrix(
    first: tf.Tensor,
    second: tf.Tensor,
    root_weights: tf.Tensor,
    *,
    epsilon: float,
    target: float,
    reduce: Reduce,
) -> tuple[Correlation, Gradient]:
    """Computes in O(batch dim^2) time and O(batch dim + dim^2) memory.

    Args:
        first: `[batch, dim]`.
        second: The other view.
        root_weights: The root of each row's share in the batch, `[batch, 1]` or scalar.
        epsilon: Added to the variance of a column.
        target: What the off-diagonal elements should be.
        reduce: Completes sums over rows by the rows of other replicas.

    Returns:
        The `Correlation`, and its `Gradient`.
    """
    a, statistics_a = standardize(first, root_weights, epsilon, reduce)
    b, statistics_b = standardize(second, root_weights, epsilon, reduce)
    matrix = reduce(tf.matmul(a, b, transpose_a=True))
    # It is in the matrix too, but sums of products are less accurate there.
    diagonal = reduce(tf.reduce_sum(a * b, axis=0))
    # Zeroed before it is squared: ||C||^2 - sum C_ii^2 would cancel near the optimum,
    # where nearly all of C lies on its diagonal.
    off = matrix - target if target else matrix
    off = tf.linalg.set_diag(off, tf.zeros_like(diagonal))
    squares = tf.square(off)

    def gradient(
        of_diagonal: tf.Tensor, of_off_diagonal: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # Every replica's loss depends on the rows of this one.
        of_diagonal, twice = reduce(of_diagonal), 2 * reduce(of_off_diagonal)
        off_times_matrix = squares + target * off if target else squares

        def through(
            view: tf.Tensor, other: tf.Tensor, slope: tf.Tensor, axis: int
        ) -> tf.Tensor:
            # The part along a column of the view, which its variance takes out, is a
            # sum over C: that over rows would be longer.
            along = twice * tf.reduce_sum(off_times_matrix, axis)
            along += of_diagonal * diagonal
            alike = root_weights.shape.rank == 0
            slope = slope * root_weights if alike else slope
            # The gradient for C, whose product with the other view is that for this.
            of_matrix = tf.linalg.set_diag(
                off * tf.expand_dims(twice * slope, axis), of_diagonal * slope
            )
            product = tf.matmul(other, of_matrix, transpose_b=axis == 1)
            product -= view * (along * slope)
            return product if alike else product * root_weights

        return (
            through(a, b, statistics_a.slope, axis=1),
            through(b, a, statistics_b.slope, axis=0),
        )

    total = tf.reduce_sum(squares)
    return Correlation(diagonal, total, statistics_a, statistics_b), gradient
