"""`algorithm="gram"`: the correlations of two views from their Gram matrices.

Embeddings are the largest tensors here. Control dependencies make sure that at most
three tensors of that size exist at a time, two of which are the gradients.
"""

from __future__ import annotations

import tensorflow as tf

from tfrs_barlow.losses._paths import Gradient, TermsAndStatistics
from tfrs_barlow.losses._standardize import reduce_nothing, scaled, standardize


def correlate_by_gram(
    first: tf.Tensor, second: tf.Tensor, root_weights: tf.Tensor, *, epsilon: float
) -> tuple[TermsAndStatistics, Gradient]:
    """Takes O(batch^2 dim) time and O(batch dim + batch^2) memory."""
    a, statistics_a = standardize(first, root_weights, epsilon, reduce_nothing)
    b, statistics_b = standardize(
        _after([a], second), root_weights, epsilon, reduce_nothing
    )
    # Gram matrices are kept for the gradient. Made while most memory is in use, they do
    # not end up between blocks that are freed.
    products = a * b
    with tf.control_dependencies([products]):
        gram_a = tf.matmul(a, a, transpose_b=True)
    with tf.control_dependencies([gram_a]):
        gram_b = tf.matmul(b, b, transpose_b=True)
    with tf.control_dependencies([gram_b]):
        diagonal = tf.reduce_sum(products, axis=0)
    # The subtraction is safe where this algorithm is the cheaper one: the rank of C is
    # then below dim, so its off-diagonal part cannot be small relative to its diagonal.
    off_diagonal = tf.reduce_sum(gram_a * _after([diagonal], gram_b))
    off_diagonal -= tf.reduce_sum(tf.square(diagonal))

    def gradient(
        of_diagonal: tf.Tensor, of_off_diagonal: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        twice = 2 * of_off_diagonal
        own = of_diagonal - twice * diagonal
        own_along = own * diagonal
        of_gram_a, of_gram_b = (
            twice * _after([off_diagonal], gram) for gram in (gram_a, gram_b)
        )
        of_a = tf.matmul(of_gram_b, a)
        # The variance takes out the part along the column itself. The part along the
        # mean is already 0, since columns are centered.
        of_a -= a * (tf.reduce_sum(a * of_a, axis=0) + own_along)
        b = statistics_b.standardize(_after([of_a], second), root_weights)
        of_first = scaled(of_a + own * b, statistics_a.slope, root_weights)

        # The same for the second view. To save memory a product takes the place of b,
        # and both views are standardized once more.
        of_b = tf.matmul(of_gram_a, _after([of_first], b))
        along = tf.reduce_sum(b * of_b, axis=0) + own_along
        of_b -= statistics_b.standardize(_after([along], second), root_weights, along)
        of_b += statistics_a.standardize(_after([of_b], first), root_weights, own)
        return of_first, scaled(of_b, statistics_b.slope, root_weights)

    terms = TermsAndStatistics(diagonal, off_diagonal, statistics_a, statistics_b)
    return terms, gradient


def _after(others: list[tf.Tensor], tensor: tf.Tensor) -> tf.Tensor:
    """Returns a tensor once the others have been computed.

    So nothing is computed too early or shared with an earlier computation: both would
    keep large tensors alive.
    """
    with tf.control_dependencies(others):
        return tf.identity(tensor)
