"""Signs of collapse, read off the embeddings of two views.

The usual sign, the standard deviation of l2-normalized embeddings, cannot tell a
healthy batch from one whose features are all copies of one, and after a batch
normalization not even from a constant one. These can.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrs_barlow.losses._standardize import standardize_batch

MAX_FEATURES = 128
"""No more features are looked at: enough to see a collapse, and cheap."""


class CollapseDiagnostics(NamedTuple):
    """What a batch of embeddings says about its encoder; each a float32 scalar.

    Attributes:
        mean_abs_off_diagonal: The mean |C_ij| of different features across views: 1 if
            all features are copies of one; around 0.8 / sqrt(batch) if they are
            independent.
        effective_rank: Over how many dimensions the features of the first view spread:
            the participation ratio (sum s)^2 / sum s^2 of the eigenvalues s of their
            correlation matrix. From 1 (copies of one) to their number (uncorrelated);
            0 if all are constant.
        standard_deviation: The mean over the features of the first view of their
            standard deviation over the batch: 0 if the encoder says the same of every
            sequence.
    """

    mean_abs_off_diagonal: tf.Tensor
    effective_rank: tf.Tensor
    standard_deviation: tf.Tensor


def collapse_diagnostics(
    first_embeddings: tf.Tensor, second_embeddings: tf.Tensor
) -> CollapseDiagnostics:
    """Returns the signs of collapse in a batch of embeddings.

    Of more than `MAX_FEATURES` features, some are looked at, evenly spread.

    Example:
        >>> user = tf.random.normal([256, 1])
        >>> copies = tf.tile(user, [1, 32])
        >>> signs = tfrsb.metrics.collapse_diagnostics(copies, copies)
        >>> print(round(float(signs.effective_rank), 2))
        1.0
        >>> independent = tf.random.normal([4096, 32])
        >>> signs = tfrsb.metrics.collapse_diagnostics(independent, independent)
        >>> bool(signs.effective_rank > 31)
        True

    References:
        The participation ratio: Gao et al. 2017, A theory of multineuronal
        dimensionality, dynamics and measurement, bioRxiv 214262.

    Args:
        first_embeddings: `[batch, dim]`, floating, before any normalization. A batch of
            one row or none varies in nothing: all signs are 0.
        second_embeddings: The other view, of the same shape.
    """
    first = _some_features(first_embeddings)
    a = standardize_batch(first, epsilon=0.0)
    b = standardize_batch(_some_features(second_embeddings), epsilon=0.0)
    own = tf.matmul(a, a, transpose_a=True)
    across = tf.abs(tf.matmul(a, b, transpose_a=True))
    rows, features = tf.unstack(tf.cast(tf.shape(first), tf.float32))
    mean = tf.math.divide_no_nan(tf.reduce_sum(first, axis=0), rows)
    squares = tf.reduce_sum(tf.square(first - mean), axis=0)
    return CollapseDiagnostics(
        mean_abs_off_diagonal=tf.math.divide_no_nan(
            tf.reduce_sum(across) - tf.linalg.trace(across), features * (features - 1)
        ),
        effective_rank=tf.math.divide_no_nan(
            tf.square(tf.linalg.trace(own)), tf.reduce_sum(tf.square(own))
        ),
        standard_deviation=tf.reduce_mean(
            tf.sqrt(tf.math.divide_no_nan(squares, rows))
        ),
    )


def _some_features(embeddings: tf.Tensor) -> tf.Tensor:
    """Returns `MAX_FEATURES` columns at equal distances, or all if they are fewer."""
    step = -(-tf.shape(embeddings)[1] // MAX_FEATURES)
    return tf.stop_gradient(tf.cast(embeddings[:, ::step], tf.float32))
