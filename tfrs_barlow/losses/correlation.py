"""What both ways to the correlations of two views return."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfrs_barlow.losses._standardize import ColumnStatistics

Gradient = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""From the gradients for `diagonal` and `off_diagonal` to those for both views."""


class Correlation(NamedTuple):
    """What losses need of the cross-correlation matrix C.

    Attributes:
        diagonal: `[dim]`, the diagonal of C.
        off_diagonal: Scalar, the sum of (C_ij - target)^2 over all i != j.
        first: What standardizing took off the first view.
        second: What it took off the second.
    """

    diagonal: tf.Tensor
    off_diagonal: tf.Tensor
    first: ColumnStatistics
    second: ColumnStatistics
