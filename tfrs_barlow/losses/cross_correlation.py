"""The cross-correlation matrix of two views, by what losses need of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_barlow.losses._direct import correlation_by_matrix
from tfrs_barlow.losses._gram import correlation_by_gram, is_large
from tfrs_barlow.losses._inputs import root_weights, validated_pair
from tfrs_barlow.losses._paths import (
    Path,
    Reduce,
    choose_gram,
    reduce_nothing,
    validate_path,
)
from tfrs_barlow.losses._standardize import scaled, standardize_batch
from tfrs_barlow.losses.correlation import Correlation, Gradient


class CorrelationTerms(NamedTuple):
    """What a redundancy-reduction loss needs of the cross-correlation matrix C.

    Attributes:
        diagonal: `[dim]`, the correlation of each feature with itself across views.
        off_diagonal: Scalar, the sum of (C_ij - target)^2 over all i != j.
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
    off_diagonal_target: float = 0.0,
    epsilon: float = 1e-5,
    path: Path = "auto",
    check_finite: bool = False,
    reduce: Reduce | None = None,
) -> CorrelationTerms:
    """Correlates every feature of one view with every feature of the other.

    Each column of either view is standardized over the batch (its mean subtracted,
    divided by the root of its biased variance plus `epsilon`); then C = A'B / batch.

    Half-precision embeddings are computed in float32; float64 stays float64.

    Example:
        >>> view = tf.constant([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> terms = tfrsb.losses.cross_correlation_terms(view, view, epsilon=0.0)
        >>> terms.diagonal.numpy(), float(terms.off_diagonal)
        (array([1., 1.], dtype=float32), 0.0)

    Args:
        first_embeddings: `[batch, dim]`, floating, batch >= 2.
        second_embeddings: The other view, of the same shape and dtype.
        sample_weight: `[batch]`, not negative: how much each row counts in the means,
            variances and correlations. A weight of 2 equals the row being there twice.
            `None` counts all rows alike. No gradient flows to the weights.
        off_diagonal_target: What the off-diagonal elements of C should be.
        epsilon: Added to the variance before its root is taken.
        path: `"direct"` computes C, in O(batch dim^2) time and O(batch dim + dim^2)
            memory;
            `"gram"` computes Gram matrices, in O(batch^2 dim) time and
            O(batch dim + batch^2) memory; `"auto"` takes the cheaper one by shape.
        check_finite: Whether a NaN or an infinity is an error that names its column,
            rather than a loss that is NaN. (XLA leaves such checks out.)
        reduce: If the batch is spread over replicas: what sums a tensor over them. The
            results are then those of the whole batch, on each replica, and the
            gradients those of the sum of all replicas' losses. Not with `"gram"`.

    Returns:
        The `CorrelationTerms`, in float32 (float64 if an input is).

    Raises:
        ValueError: If the shapes are not two equal `[batch, dim]`, `sample_weight` is
            not `[batch]`, `epsilon` is negative, or `path` is not one of the three or
            cannot be taken with `reduce`.
        TypeError: If an input is not floating.
        tf.errors.InvalidArgumentError: Where a shape is known only at run time and
            does not fit, a weight is negative, all weights are zero, or a value is not
            finite and `check_finite`.
    """
    if epsilon < 0:
        raise ValueError(f"epsilon must be at least 0, but it is {epsilon}.")
    validate_path(path)
    if reduce is not None and path != "direct":
        raise ValueError(f'path must be "direct" with reduce, but it is {path!r}.')
    first, second = validated_pair(
        first_embeddings,
        second_embeddings,
        check_finite=check_finite,
        whole_batch=reduce is None,
    )
    reduce = reduce or reduce_nothing
    roots = root_weights(sample_weight, first, reduce)
    gram = choose_gram(path, first)
    traced = gram is True and is_large(first) and tf.executing_eagerly()
    terms = _terms_in_graph if traced else _terms
    return CorrelationTerms(
        *terms(first, second, roots, epsilon, off_diagonal_target, gram, reduce)
    )


def cross_correlation_matrix(
    first_embeddings: tf.Tensor,
    second_embeddings: tf.Tensor,
    *,
    epsilon: float = 1e-5,
) -> tf.Tensor:
    """Returns C itself, to be looked at.

    Example:
        >>> view = tf.constant([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> tfrsb.losses.cross_correlation_matrix(view, -view, epsilon=0.0).numpy()
        array([[-1.,  0.],
               [ 0., -1.]], dtype=float32)

    Args:
        first_embeddings: `[batch, dim]`, floating, batch >= 2.
        second_embeddings: The other view, of the same shape and dtype.
        epsilon: Added to the variance before its root is taken.

    Returns:
        `[dim, dim]`, float32 (float64 if an input is); C_ij is the correlation of
        feature i of the first view with feature j of the second, 0 where one of them
        is constant.

    Raises:
        ValueError: If the shapes are not two equal `[batch, dim]`.
        TypeError: If an input is not floating.
    """
    first, second = validated_pair(
        first_embeddings, second_embeddings, check_finite=False, whole_batch=True
    )
    return tf.matmul(
        standardize_batch(first, epsilon),
        standardize_batch(second, epsilon),
        transpose_a=True,
    )


def _terms(
    first: tf.Tensor,
    second: tf.Tensor,
    roots: tf.Tensor,
    epsilon: float,
    target: float,
    gram: bool | tf.Tensor,
    reduce: Reduce,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the terms, with their gradient, by the one path or the other."""
    by_gram = functools.partial(correlation_by_gram, epsilon=epsilon, target=target)
    by_matrix = functools.partial(
        correlation_by_matrix, epsilon=epsilon, target=target, reduce=reduce
    )

    @tf.custom_gradient
    def terms(first: tf.Tensor, second: tf.Tensor) -> Any:
        if isinstance(gram, bool):
            path = by_gram if gram else by_matrix
            correlation, gradient = path(first, second, roots)
        else:
            correlation, gradient = _by_either(
                gram, by_gram, by_matrix, first, second, roots
            )
        dead = correlation.first.dead + correlation.second.dead
        dead_columns = tf.math.count_nonzero(dead, dtype=first.dtype)
        return (
            (correlation.diagonal, correlation.off_diagonal, dead_columns),
            lambda of_diagonal, of_off, _: gradient(of_diagonal, of_off),
        )

    return terms(first, second)


_terms_in_graph = tf.function(_terms, autograph=False)
"""Eager tensors live as long as a name or a tape knows them: too long if large."""


def _by_either(
    gram: tf.Tensor,
    by_gram: Callable[..., tuple[Correlation, Gradient]],
    by_matrix: Callable[..., tuple[Correlation, Gradient]],
    first: tf.Tensor,
    second: tf.Tensor,
    roots: tf.Tensor,
) -> tuple[Correlation, Gradient]:
    """Takes the path that is found at run time to be the cheaper one.

    What the paths keep for the gradient differs in shape, so they must not keep
    anything: they compute the gradient of the off-diagonal sum at once. Where it is not
    used it is pruned.
    """

    def all_at_once(
        path: Callable[..., tuple[Correlation, Gradient]],
    ) -> tuple[Correlation, tuple[tf.Tensor, tf.Tensor]]:
        correlation, gradient = path(first, second, roots)
        nothing, one = tf.zeros_like(correlation.diagonal), tf.ones([], first.dtype)
        return correlation, gradient(nothing, one)

    correlation, (of_first, of_second) = tf.cond(
        gram, lambda: all_at_once(by_gram), lambda: all_at_once(by_matrix)
    )

    def gradient(
        of_diagonal: tf.Tensor, of_off_diagonal: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        a = correlation.first.standardize(first, roots)
        b = correlation.second.standardize(second, roots)
        along = correlation.diagonal
        return (
            of_off_diagonal * of_first
            + scaled(b - a * along, of_diagonal * correlation.first.slope, roots),
            of_off_diagonal * of_second
            + scaled(a - b * along, of_diagonal * correlation.second.slope, roots),
        )

    return correlation, gradient
