"""The correlations of two views by way of their Gram matrices, and the way back.

Embeddings are large here, beside everything else. The control dependencies see to it
that at most three tensors of that size exist at a time, two of them the gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrs_barlow.losses._paths import reduce_nothing
from tfrs_barlow.losses._standardize import ColumnStatistics, scaled, standardize
from tfrs_barlow.losses.correlation import Correlation, Gradient

LARGE_BATCH = 2048
"""From here on Gram matrices are about as large as embeddings, and gradients are made
block by block. For fewer rows the writing of blocks would take too long."""

BLOCKS = 16


def is_large(embeddings: tf.Tensor) -> bool:
    """Returns whether the batch is known to be large."""
    return embeddings.shape.is_fully_defined() and embeddings.shape[0] >= LARGE_BATCH


def correlation_by_gram(
    first: tf.Tensor,
    second: tf.Tensor,
    root_weights: tf.Tensor,
    *,
    epsilon: float,
    target: float,
) -> tuple[Correlation, Gradient]:
    """Computes in O(batch^2 dim) time and O(batch dim + batch^2) memory.

    Args:
        first: `[batch, dim]`.
        second: The other view.
        root_weights: The root of each row's share in the batch, `[batch, 1]` or scalar.
        epsilon: Added to the variance of a column.
        target: What the off-diagonal elements should be.

    Returns:
        The `Correlation`, and its `Gradient`.
    """
    a, statistics_a = standardize(first, root_weights, epsilon, reduce_nothing)
    b, statistics_b = standardize(
        _after([a], second), root_weights, epsilon, reduce_nothing
    )
    # Gram matrices stay. Made while most memory is in use, they do not come to lie
    # between what is freed; but large ones would need more than there is room for.
    large = is_large(first)
    products = b if large else a * b
    with tf.control_dependencies([products]):
        gram_a = tf.matmul(a, a, transpose_b=True)
    with tf.control_dependencies([gram_a]):
        gram_b = tf.matmul(b, b, transpose_b=True)
    with tf.control_dependencies([gram_b]):
        diagonal = tf.reduce_sum(a * b if large else products, axis=0)
    # The subtraction is safe where this path is the cheaper one: the rank of C is then
    # below dim, so that its off-diagonal part cannot be small beside its diagonal.
    off_diagonal = tf.reduce_sum(gram_a * _after([diagonal], gram_b))
    off_diagonal -= tf.reduce_sum(tf.square(diagonal - target))
    sums_a = sums_b = None
    if target:
        # The sum of (C_ij - t)^2 is that of C_ij^2 - 2 t C_ij + t^2, and the sum of all
        # C_ij is the inner product of the sums of rows.
        sums_a = tf.reduce_sum(a, axis=1, keepdims=True)
        sums_b = tf.reduce_sum(b, axis=1, keepdims=True)
        dim = tf.cast(tf.size(diagonal), a.dtype)
        off_diagonal += (target * dim) ** 2 - 2 * target * tf.reduce_sum(
            sums_a * sums_b
        )

    def gradient(
        of_diagonal: tf.Tensor, of_off_diagonal: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        twice = 2 * of_off_diagonal
        own = of_diagonal - twice * (diagonal - target)
        of_gram_a, of_gram_b = (
            twice * _after([off_diagonal], gram) for gram in (gram_a, gram_b)
        )

        def of_columns(
            first: tf.Tensor,
            second: tf.Tensor,
            own: tf.Tensor,
            own_along: tf.Tensor,
            statistics_a: ColumnStatistics,
            statistics_b: ColumnStatistics,
            a: tf.Tensor | None = None,
        ) -> tuple[tf.Tensor, tf.Tensor]:
            if a is None:
                a = statistics_a.standardize(first, root_weights)
            of_a = tf.matmul(of_gram_b, a)
            of_a = of_a - twice * target * sums_b if target else of_a
            # The variance takes out the part along the column itself. The part along
            # the mean needs no taking out: it is 0, since columns are centered.
            of_a -= a * (tf.reduce_sum(a * of_a, axis=0) + own_along)
            b = statistics_b.standardize(_after([of_a], second), root_weights)
            of_first = scaled(of_a + own * b, statistics_a.slope, root_weights)

            # The same for the second view, with no room left: b gives way to a product,
            # and both views are standardized once more.
            of_b = tf.matmul(of_gram_a, _after([of_first], b))
            of_b = of_b - twice * target * sums_a if target else of_b
            along = tf.reduce_sum(b * of_b, axis=0) + own_along
            second = _after([along], second)
            of_b -= statistics_b.standardize(second, root_weights, along)
            of_b += statistics_a.standardize(_after([of_b], first), root_weights, own)
            return of_first, scaled(of_b, statistics_b.slope, root_weights)

        inputs = (first, second, own, own * diagonal, statistics_a, statistics_b)
        if large:
            return _by_blocks(of_columns, inputs, ready=[off_diagonal])
        return of_columns(*inputs, a)

    return Correlation(diagonal, off_diagonal, statistics_a, statistics_b), gradient


def _by_blocks(
    compute: Callable[..., tuple[tf.Tensor, tf.Tensor]],
    inputs: Any,
    ready: list[tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes two `[batch, dim]` tensors from blocks of columns, one after the other.

    Args:
        compute: From `[batch, columns]` and `[columns]` to two of `[batch, columns]`.
        inputs: Its arguments for all columns, the first `[batch, dim]`.
        ready: What must be there first.
    """
    batch, dim = inputs[0].shape
    with tf.control_dependencies(ready):
        # Written in place. Concatenating blocks would need room for them twice.
        first, second = (
            tf.raw_ops.Empty(shape=[batch, dim], dtype=inputs[0].dtype)
            for _ in range(2)
        )
    width = -(-dim // BLOCKS)
    for start in range(0, dim, width):
        stop = min(start + width, dim)
        with tf.control_dependencies([first, second]):
            block = _columns(inputs, start, stop)
        first, second = (
            tf.raw_ops.TensorStridedSliceUpdate(
                input=whole,
                value=part,
                begin=[0, start],
                end=[batch, stop],
                strides=[1, 1],
            )
            for whole, part in zip((first, second), compute(*block), strict=True)
        )
    return first, second


def _columns(tensors: Any, start: int, stop: int) -> Any:
    """Returns these columns of each tensor in a structure."""
    return tf.nest.map_structure(lambda tensor: tensor[..., start:stop], tensors)


def _after(others: list[tf.Tensor], tensor: tf.Tensor) -> tf.Tensor:
    """Returns a tensor once the others are there.

    Nothing is computed too early then, nor shared with an earlier computation: both
    would keep large tensors alive.
    """
    with tf.control_dependencies(others):
        return tf.identity(tensor)
