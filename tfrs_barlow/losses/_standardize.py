"""Columns of zero mean and unit length, and the way back through it for gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

Reduce = Callable[[tf.Tensor], tf.Tensor]
"""Completes a sum over rows by the rows of other replicas."""

SAMPLED_ROWS = 8
"""The number of rows from which the order of magnitude of a column is estimated."""


def reduce_nothing(total: tf.Tensor) -> tf.Tensor:
    """Returns a sum over rows that are all here."""
    return total


class ColumnStatistics(NamedTuple):
    """The statistics used to standardize each column.

    Attributes:
        first_mean: `[dim]`. The mean of a column with a large offset carries a rounding
            error that is large compared with the column's deviations.
        second_mean: `[dim]`, the mean of what is left: that error.
        slope: `[dim]`, 1 / standard deviation; 0 if dead.
        dead: `[dim]`, 1 if the column is constant over the batch, else 0.
    """

    first_mean: tf.Tensor
    second_mean: tf.Tensor
    slope: tf.Tensor
    dead: tf.Tensor

    def standardize(
        self, rows: tf.Tensor, root_weights: tf.Tensor, times: tf.Tensor | float = 1.0
    ) -> tf.Tensor:
        """Standardizes `[rows, dim]`, and multiplies the columns by `times`."""
        centered = rows - self.first_mean - self.second_mean
        return scaled(centered, self.slope * times, root_weights)


def standardize(
    rows: tf.Tensor, root_weights: tf.Tensor, epsilon: float, reduce: Reduce
) -> tuple[tf.Tensor, ColumnStatistics]:
    """Returns `[rows, dim]` whose inner products of columns are correlations.

    The roots of the rows' shares in the batch are `[rows, 1]` or, if equal, a scalar.
    """
    weights = tf.square(root_weights)

    def mean(values: tf.Tensor) -> tf.Tensor:
        return reduce(_weighted_sum(weights, values))

    first_mean = mean(rows)
    centered = rows - first_mean
    second_mean = mean(centered)
    centered -= second_mean

    # Divided by their size first, no square over- or underflows. The size is a power of
    # two, so that the division does not round.
    by_size = 1 / _size(first_mean, centered, reduce)
    centered *= by_size
    variance = mean(tf.square(centered))

    # Only rounding errors are left of a constant column. Scaled up to a feature they
    # would look perfectly invariant.
    rounding = 8 * np.finfo(rows.dtype.as_numpy_dtype).eps
    dead = tf.sqrt(variance) <= rounding
    # Replaced before the root, whose slope at 0 would make second derivatives NaN.
    variance = tf.where(dead, tf.ones([], rows.dtype), variance)
    root_epsilon = tf.constant(epsilon**0.5, rows.dtype) * by_size
    slope = tf.math.rsqrt(variance + tf.square(root_epsilon))
    slope = tf.where(dead, tf.zeros([], rows.dtype), slope)
    statistics = ColumnStatistics(
        first_mean, second_mean, slope * by_size, tf.cast(dead, rows.dtype)
    )
    return scaled(centered, slope, root_weights), statistics


def standardize_batch(embeddings: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Standardizes a whole batch with equal weights."""
    root = tf.math.rsqrt(tf.cast(tf.shape(embeddings)[0], embeddings.dtype))
    return standardize(embeddings, root, epsilon, reduce_nothing)[0]


def scaled(
    values: tf.Tensor, by_column: tf.Tensor, root_weights: tf.Tensor
) -> tf.Tensor:
    """Scales columns and rows, in one pass if all rows have the same weight."""
    if root_weights.shape.rank == 0:
        return values * (by_column * root_weights)
    return values * by_column * root_weights


def _weighted_sum(weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns the sum over rows; weights are `[rows, 1]` or a scalar."""
    if weights.shape.rank == 0:
        return weights * tf.reduce_sum(values, axis=0)
    return tf.reduce_sum(weights * values, axis=0)


def _size(mean: tf.Tensor, centered: tf.Tensor, reduce: Reduce) -> tf.Tensor:
    """Returns the order of magnitude of each column, a power of two.

    Squares in units of it stay in range even if it is wrong by many orders, so a few
    rows are enough for an estimate.
    """
    some = tf.reduce_sum(tf.abs(centered[:SAMPLED_ROWS]), axis=0) / SAMPLED_ROWS
    size = _power_of_two(tf.abs(mean) + reduce(some))
    return tf.where(size > 0, size, tf.ones([], size.dtype))


def _power_of_two(values: tf.Tensor) -> tf.Tensor:
    """Returns values without their mantissas: the power of two at or below each."""
    if values.dtype == tf.float64:
        integer, exponent = tf.int64, 0x7FF0_0000_0000_0000
    else:
        integer, exponent = tf.int32, 0x7F80_0000
    bits = tf.bitwise.bitwise_and(tf.bitcast(values, integer), exponent)
    return tf.stop_gradient(tf.bitcast(bits, values.dtype))
