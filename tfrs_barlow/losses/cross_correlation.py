"""The cross-correlation matrix of two views, and what losses need of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.losses._direct import correlate_directly
from tfrs_barlow.losses._gram import correlate_by_gram
from tfrs_barlow.losses._inputs import root_weights, validated_pair
from tfrs_barlow.losses._paths import (
    ALGORITHMS,
    Algorithm,
    Gradient,
    TermsAndStatistics,
    choose_gram,
)
from tfrs_barlow.losses._standardize import (
    Reduce,
    reduce_nothing,
    scaled,
    standardize_batch,
)


class CorrelationTerms(NamedTuple):
    """What a redundancy-reduction loss needs of the cross-correlation matrix C.

    Attributes:
        diagonal: `[dim]`, the correlation of each feature with itself across views.
        off_diagonal: Scalar, the sum of C_ij^2 over all i != j.
        dead_columns: Scalar, how many features are constant over the batch in at least
            one view. They count as uncorrelated and receive no gradient.
    """

    diagonal: tf.Tensor
    off_diagonal: tf.Tensor
    dead_columns: tf.Tensor


def cross_correlation_terms(
    first_embeddings: tf.Tensor,
    second_embeddings: tf.Tensor,
    *,
    sample_weight: tf.Tensor | None = None,
    epsilon: float = 1e-5,
    algorithm: Algorithm = "auto",
    check_finite: bool = False,
    reduce: Reduce | None = None,
) -> CorrelationTerms:
    """Correlates every feature of one view with every feature of the other.

    Each column of either view is standardized over the batch (its mean subtracted,
    divided by the root of its biased variance plus `epsilon`); then C = A'B / batch.

    Half-precision embeddings are computed in float32; float64 stays float64.

    Args:
        first_embeddings: `[batch, dim]`, floating, batch >= 2.
        second_embeddings: The other view, of the same shape and dtype.
        sample_weight: `[batch]`, not negative: how much each row counts in the means,
            variances and correlations. A weight of 2 equals the row being there twice.
            `None` counts all rows alike. No gradient flows to the weights.
        epsilon: Added to the variance before its root is taken, at least 0.
        algorithm: `"direct"` computes C, in O(batch dim^2) time and
            O(batch dim + dim^2) memory; `"gram"` computes Gram matrices, in
            O(batch^2 dim) time and O(batch dim + batch^2) memory; `"auto"` takes the
            cheaper one by shape.
        check_finite: Whether a NaN or an infinity is an error that names its column,
            rather than a loss that is NaN. (XLA leaves such checks out.)
        reduce: If the batch is spread over replicas: a function that sums a tensor over
            them. The results are then those of the whole batch, on each replica, and
            the gradients those of the sum of all replicas' losses. Needs `"direct"`.

    Returns:
        The `CorrelationTerms`, in float32 (float64 if an input is).

    Raises:
        ValueError: If the shapes are not two equal `[batch, dim]`, or `sample_weight`
            is not `[batch]`.
        TypeError: If an input is not floating.
        tf.errors.InvalidArgumentError: If a weight is negative, all weights are zero,
            a value is not finite and `check_finite`, or a shape that is known only at
            run time does not fit.

    Examples:
        >>> view = tf.constant([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> terms = tfrsb.losses.cross_correlation_terms(view, view, epsilon=0.0)
        >>> terms.diagonal.numpy(), float(terms.off_diagonal)
        (array([1., 1.], dtype=float32), 0.0)
    """
    _checks.number("epsilon", epsilon, at_least=0)
    _checks.one_of("algorithm", algorithm, ALGORITHMS)
    _checks.boolean("check_finite", check_finite)
    if reduce is not None and not callable(reduce):
        raise TypeError(f"reduce must be a function, but it is {reduce!r}.")
    if reduce is not None and algorithm != "direct":
        raise ValueError(
            f'algorithm must be "direct" with reduce, but it is {algorithm!r}.'
        )
    first, second = validated_pair(
        first_embeddings,
        second_embeddings,
        check_finite=check_finite,
        whole_batch=reduce is None,
    )
    reduce = reduce or reduce_nothing
    roots = root_weights(sample_weight, first, reduce)
    gram = choose_gram(algorithm, first)
    by_gram = functools.partial(correlate_by_gram, epsilon=epsilon)
    directly = functools.partial(correlate_directly, epsilon=epsilon, reduce=reduce)

    @tf.custom_gradient
    def terms(first: tf.Tensor, second: tf.Tensor) -> Any:
        if isinstance(gram, bool):
            correlate = by_gram if gram else directly
            found, gradient = correlate(first, second, roots)
        else:
            found, gradient = _by_either(gram, by_gram, directly, first, second, roots)
        dead_columns = tf.math.count_nonzero(
            found.first.dead + found.second.dead, dtype=first.dtype
        )
        return (
            (found.diagonal, found.off_diagonal, dead_columns),
            lambda of_diagonal, of_off, _: gradient(of_diagonal, of_off),
        )

    return CorrelationTerms(*terms(first, second))


def cross_correlation_matrix(
    first_embeddings: tf.Tensor,
    second_embeddings: tf.Tensor,
    *,
    epsilon: float = 1e-5,
) -> tf.Tensor:
    """Returns the matrix C itself, to look at.

    Args:
        first_embeddings: `[batch, dim]`, floating, batch >= 2.
        second_embeddings: The other view, of the same shape and dtype.
        epsilon: Added to the variance before its root is taken, at least 0.

    Returns:
        `[dim, dim]`, float32 (float64 if an input is); C_ij is the correlation of
        feature i of the first view with feature j of the second, 0 where one of them
        is constant.

    Raises:
        ValueError: If the shapes are not two equal `[batch, dim]`.
        TypeError: If an input is not floating.

    Examples:
        >>> view = tf.constant([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> tfrsb.losses.cross_correlation_matrix(view, -view, epsilon=0.0).numpy()
        array([[-1.,  0.],
               [ 0., -1.]], dtype=float32)
    """
    _checks.number("epsilon", epsilon, at_least=0)
    first, second = validated_pair(
        first_embeddings, second_embeddings, check_finite=False, whole_batch=True
    )
    return tf.matmul(
        standardize_batch(first, epsilon),
        standardize_batch(second, epsilon),
        transpose_a=True,
    )


def _by_either(
    gram: tf.Tensor,
    by_gram: Callable[..., tuple[TermsAndStatistics, Gradient]],
    directly: Callable[..., tuple[TermsAndStatistics, Gradient]],
    first: tf.Tensor,
    second: tf.Tensor,
    roots: tf.Tensor,
) -> tuple[TermsAndStatistics, Gradient]:
    """Uses the algorithm that turns out to be the cheaper one at run time.

    What they keep for the gradient differs in shape, so they must not keep anything:
    they compute the gradient of the off-diagonal sum at once. If it is not used, it is
    pruned.
    """

    def all_at_once(
        correlate: Callable[..., tuple[TermsAndStatistics, Gradient]],
    ) -> tuple[TermsAndStatistics, tuple[tf.Tensor, tf.Tensor]]:
        found, gradient = correlate(first, second, roots)
        nothing, one = tf.zeros_like(found.diagonal), tf.ones([], first.dtype)
        return found, gradient(nothing, one)

    found, (of_first, of_second) = tf.cond(
        gram, lambda: all_at_once(by_gram), lambda: all_at_once(directly)
    )

    def gradient(
        of_diagonal: tf.Tensor, of_off_diagonal: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        a = found.first.standardize(first, roots)
        b = found.second.standardize(second, roots)
        along = found.diagonal
        return (
            of_off_diagonal * of_first
            + scaled(b - a * along, of_diagonal * found.first.slope, roots),
            of_off_diagonal * of_second
            + scaled(a - b * along, of_diagonal * found.second.slope, roots),
        )

    return found, gradient
