"""`algorithm="direct"`: the correlations of two views from the matrix C = A'B."""

from __future__ import annotations

import tensorflow as tf

from tfrs_barlow.losses._paths import Gradient, TermsAndStatistics
from tfrs_barlow.losses._standardize import Reduce, standardize


def correlate_directly(
    first: tf.Tensor,
    second: tf.Tensor,
    root_weights: tf.Tensor,
    *,
    epsilon: float,
    reduce: Reduce,
) -> tuple[TermsAndStatistics, Gradient]:
    """Takes O(batch dim^2) time and O(batch dim + dim^2) memory."""
    a, statistics_a = standardize(first, root_weights, epsilon, reduce)
    b, statistics_b = standardize(second, root_weights, epsilon, reduce)
    matrix = reduce(tf.matmul(a, b, transpose_a=True))
    # C holds it too, but sums of products are less accurate there.
    diagonal = reduce(tf.reduce_sum(a * b, axis=0))
    # Zeroed before it is squared: ||C||^2 - sum C_ii^2 would cancel near the optimum,
    # where nearly all of C lies on its diagonal.
    off = tf.linalg.set_diag(matrix, tf.zeros_like(diagonal))
    squares = tf.square(off)

    def gradient(
        of_diagonal: tf.Tensor, of_off_diagonal: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # Every replica's loss depends on the rows of this one.
        of_diagonal, twice = reduce(of_diagonal), 2 * reduce(of_off_diagonal)

        def through(
            view: tf.Tensor, other: tf.Tensor, slope: tf.Tensor, axis: int
        ) -> tf.Tensor:
            # The variance takes out the part along the column itself. As a sum over C
            # it is shorter than as a sum over rows.
            along = twice * tf.reduce_sum(squares, axis) + of_diagonal * diagonal
            equal_weights = root_weights.shape.rank == 0
            slope = slope * root_weights if equal_weights else slope
            # The gradient for C; its product with the other view is that for this one.
            of_matrix = tf.linalg.set_diag(
                off * tf.expand_dims(twice * slope, axis), of_diagonal * slope
            )
            product = tf.matmul(other, of_matrix, transpose_b=axis == 1)
            product -= view * (along * slope)
            return product if equal_weights else product * root_weights

        return (
            through(a, b, statistics_a.slope, axis=1),
            through(b, a, statistics_b.slope, axis=0),
        )

    terms = TermsAndStatistics(
        diagonal, tf.reduce_sum(squares), statistics_a, statistics_b
    )
    return terms, gradient
