"""Signs of collapse in the embeddings of two views.

The usual sign is the standard deviation of l2-normalized embeddings. It cannot
distinguish a healthy batch from one whose features are all copies of one, nor, after
batch normalization, from a constant one. These signs can.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_barlow.losses._inputs import validated
from tfrs_barlow.losses._standardize import standardize_batch

MAX_FEATURES = 128
"""The largest number of features looked at: enough to see a collapse, and cheap."""


class CollapseDiagnostics(NamedTuple):
    """Signs of collapse in a batch of embeddings; each is a float32 scalar.

    Attributes:
        mean_abs_off_diagonal: The mean |C_ij| of different features across views: 1 if
            all features are copies of one; around 0.8 / sqrt(batch) if they are
            independent.
        effective_rank: Over how many dimensions the features of the first view spread:
            the participation ratio (sum s)^2 / sum s^2 of the eigenvalues s of their
            correlation matrix. From 1 (copies of one) to their number (uncorrelated);
            0 if all are constant.
        standard_deviation: The mean over the features of the first view of their
            standard deviation over the batch: 0 if the encoder maps every sequence to
            the same embedding.
    """

    mean_abs_off_diagonal: tf.Tensor
    effective_rank: tf.Tensor
    standard_deviation: tf.Tensor


def collapse_diagnostics(
    first_embeddings: tf.Tensor, second_embeddings: tf.Tensor
) -> CollapseDiagnostics:
    """Returns the signs of collapse in a batch of embeddings.

    Of more than `MAX_FEATURES` features, evenly spaced ones are used.

    Args:
        first_embeddings: `[batch, dim]`, floating, before any normalization. A batch of
            one row or none has no variance: all signs are 0.
        second_embeddings: The other view, of the same shape.

    Returns:
        The `CollapseDiagnostics`.

    Raises:
        TypeError: If an input is not floating.
        ValueError: If an input is not `[batch, dim]`.

    Examples:
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
        - Gao et al. (2017), "A theory of multineuronal dimensionality, dynamics and
          measurement" (the participation ratio), https://doi.org/10.1101/214262.
    """
    first = _some_features("first_embeddings", first_embeddings)
    second = _some_features("second_embeddings", second_embeddings)
    a = standardize_batch(first, epsilon=0.0)
    b = standardize_batch(second, epsilon=0.0)
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


def _some_features(name: str, embeddings: Any) -> tf.Tensor:
    """Returns `MAX_FEATURES` evenly spaced columns, or all if there are fewer."""
    embeddings = validated(name, embeddings, whole_batch=False)
    step = -(-tf.shape(embeddings)[1] // MAX_FEATURES)
    return tf.stop_gradient(tf.cast(embeddings[:, ::step], tf.float32))
