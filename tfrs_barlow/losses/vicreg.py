"""The VICReg loss, to compare Barlow Twins with."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.losses._inputs import after, validated_pair, validated_weights
from tfrs_barlow.losses._paths import ALGORITHMS, Algorithm, choose_gram

_MOST_SUBTRACTED = 0.9
"""The largest share of a sum that may be subtracted from it."""


def vicreg_loss(
    first_embeddings: tf.Tensor,
    second_embeddings: tf.Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    sample_weight: tf.Tensor | None = None,
    epsilon: float = 1e-4,
    algorithm: Algorithm = "auto",
    check_finite: bool = False,
) -> tf.Tensor:
    """Keeps views together, variances up and covariances down.

        loss = invariance_weight * mean((A - B)^2)
             + variance_weight * mean(max(0, 1 - std)) / 2, summed over both views
             + covariance_weight * sum_{i != j} Cov_ij^2 / dim, summed over both views

    Unlike Barlow Twins it compares the views row by row, and each view only with
    itself, so the two need not be of one kind. Its covariance term is computed like the
    redundancy of Barlow Twins: from Gram matrices where those are cheaper.

    Args:
        first_embeddings: `[batch, dim]`, floating, batch >= 2.
        second_embeddings: The other view, of the same shape and dtype.
        invariance_weight: The weight of the distance between the views, at least 0.
        variance_weight: The weight of the hinge on the standard deviations, at least 0.
        covariance_weight: The weight of the covariances, at least 0.
        sample_weight: `[batch]`, not negative, more than 1 in sum: how much each row
            counts. A weight of 2 equals the row being there twice.
        epsilon: Added to each variance before its root is taken, at least 0.
        algorithm: `"direct"`, `"gram"` or, by shape, `"auto"`. If a few columns have
            nearly all of the variance, Gram matrices would leave no digit of the
            covariances, and the direct algorithm is used in any case.
        check_finite: Whether a NaN or an infinity is an error that names its column.

    Returns:
        The scalar loss, in float32 (float64 if an input is).

    Raises:
        ValueError: If the shapes are not two equal `[batch, dim]`.
        TypeError: If an input is not floating.
        tf.errors.InvalidArgumentError: If `sample_weight` is negative or not more than
            1 in sum.

    Examples:
        >>> view = tf.constant([[3.0, 3.0], [3.0, -3.0], [-3.0, 3.0], [-3.0, -3.0]])
        >>> round(float(tfrsb.losses.vicreg_loss(view, view)), 4)
        0.0
        >>> round(float(tfrsb.losses.vicreg_loss(view, view + 1.0)), 4)
        25.0

    References:
        - Bardes et al. (2022), "VICReg: Variance-Invariance-Covariance Regularization
          for Self-Supervised Learning", equations 1 to 6, with the means over features
          and the halved hinge of the authors' code, https://arxiv.org/abs/2105.04906.
    """
    _checks.number("invariance_weight", invariance_weight, at_least=0)
    _checks.number("variance_weight", variance_weight, at_least=0)
    _checks.number("covariance_weight", covariance_weight, at_least=0)
    _checks.number("epsilon", epsilon, at_least=0)
    _checks.one_of("algorithm", algorithm, ALGORITHMS)
    _checks.boolean("check_finite", check_finite)
    first, second = validated_pair(
        first_embeddings, second_embeddings, check_finite=check_finite, whole_batch=True
    )
    weights = validated_weights(sample_weight, first)
    total = tf.reduce_sum(weights)
    if sample_weight is not None:
        # A variance divides by this less 1.
        message = "sample_weight must be more than 1 in sum."
        check = tf.debugging.assert_greater(total, tf.ones_like(total), message)
        total = after([check], total)
    dim = tf.cast(tf.shape(first)[1], first.dtype)
    gram = choose_gram(algorithm, first, _gram_is_cheaper)

    distances = tf.reduce_sum(tf.square(first - second), axis=1, keepdims=True)
    loss = invariance_weight * tf.reduce_sum(weights * distances) / (total * dim)
    for view in (first, second):
        centered = view - tf.reduce_sum(weights * view, axis=0) / total
        # The columns' inner products are then their covariances.
        scaled = tf.sqrt(weights / (total - 1)) * centered
        variance = tf.reduce_sum(tf.square(scaled), axis=0)
        hinge = tf.nn.relu(1 - _root(variance + epsilon))
        loss += variance_weight * tf.reduce_mean(hinge) / 2
        loss += covariance_weight * _covariance_energy(scaled, gram) / dim
    return loss


def _root(values: tf.Tensor) -> tf.Tensor:
    """Returns roots, whose gradient at 0 is 0 and not infinite."""
    is_positive = values > 0
    safe = tf.where(is_positive, values, tf.ones_like(values))
    return tf.where(is_positive, tf.sqrt(safe), tf.zeros_like(values))


def _gram_is_cheaper(batch: Any, dim: Any) -> Any:
    """Counts floating-point operations: 4 N^2 D with ZZ', 4 N D^2 with Cov."""
    return batch < dim


def _covariance_energy(scaled: tf.Tensor, gram: bool | tf.Tensor) -> tf.Tensor:
    """Returns the sum of Cov_ij^2 over i != j, where Cov = Z'Z."""

    @tf.custom_gradient
    def covariance_energy(scaled: tf.Tensor) -> Any:
        by_gram = functools.partial(_by_gram, scaled)
        directly = functools.partial(_directly, scaled)
        if isinstance(gram, bool):
            total, product = by_gram() if gram else directly()
        else:
            total, product = tf.cond(gram, by_gram, directly)
        # Z stands on both sides of a product that is squared: hence 4.
        return total, lambda upstream: 4 * upstream * product

    return covariance_energy(scaled)


def _directly(scaled: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the sum, and the product Z off(Cov) for its gradient.

    If the product is not used, it is pruned. What it is computed from differs in shape
    between the algorithms, so that a `tf.cond` could not return that.
    """
    off = tf.matmul(scaled, scaled, transpose_a=True)
    off = tf.linalg.set_diag(off, tf.zeros_like(off[0]))
    return tf.reduce_sum(tf.square(off)), tf.matmul(scaled, off)


def _by_gram(scaled: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the same from the Gram matrix ZZ', if that is accurate enough."""
    gram = tf.matmul(scaled, scaled, transpose_b=True)
    variance = tf.reduce_sum(tf.square(scaled), axis=0)
    squares = tf.reduce_sum(tf.square(gram))
    own = tf.reduce_sum(tf.square(variance))
    return tf.cond(
        own < _MOST_SUBTRACTED * squares,
        lambda: (squares - own, tf.matmul(gram, scaled) - scaled * variance),
        lambda: _directly(scaled),
    )
