"""The two algorithms for the correlations of two views, and which one to take.

Redundancy-reduction losses need only the diagonal of the `[dim, dim]` product C = A'B
and the sum of C_ij^2 over i != j. Both follow without C:

    C_ii = sum_n A_ni B_ni,    ||C||_F^2 = sum_nm (A A')_nm (B B')_nm,

from two `[batch, batch]` Gram matrices instead of one `[dim, dim]` product. If the
batch is smaller than the dimension, as for projectors thousands of features wide, this
saves most of the time and nearly all of the memory.

The gradients are written by hand, because automatic differentiation would keep every
intermediate alive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from tfrs_barlow.losses._standardize import ColumnStatistics

Algorithm = Literal["auto", "direct", "gram"]
ALGORITHMS: tuple[Algorithm, ...] = ("auto", "direct", "gram")

Gradient = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""From the gradients for `diagonal` and `off_diagonal` to those for both views."""


class TermsAndStatistics(NamedTuple):
    """What either algorithm returns, together with its `Gradient`.

    Attributes:
        diagonal: `[dim]`, the diagonal of C.
        off_diagonal: Scalar, the sum of C_ij^2 over all i != j.
        first: How the columns of the first view were standardized.
        second: How those of the second view were.
    """

    diagonal: tf.Tensor
    off_diagonal: tf.Tensor
    first: ColumnStatistics
    second: ColumnStatistics


def gram_is_cheaper(batch: Any, dim: Any) -> Any:
    """Counts floating-point operations: 8 N^2 D with Gram matrices, 6 N D^2 with C."""
    return 4 * batch < 3 * dim


def choose_gram(
    algorithm: Algorithm,
    embeddings: tf.Tensor,
    cheaper: Callable[[Any, Any], Any] = gram_is_cheaper,
) -> bool | tf.Tensor:
    """Returns whether to use Gram matrices; a tensor if a size is not known yet."""
    if algorithm != "auto":
        return algorithm == "gram"
    batch, dim = embeddings.shape
    if batch is None or dim is None:
        batch, dim = tf.unstack(tf.shape(embeddings))
    return cheaper(batch, dim)
