"""Checks of the embeddings and weights that a loss receives."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow.losses._standardize import Reduce


def validated_pair(
    first: Any, second: Any, *, check_finite: bool, whole_batch: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns both views, `[batch, dim]`, in the dtype of the computation.

    Without `whole_batch`, other replicas hold more rows, and one row is enough here.
    """
    first = validated("first_embeddings", first, whole_batch)
    second = validated("second_embeddings", second, whole_batch)
    if not first.shape.is_compatible_with(second.shape):
        raise ValueError(
            "first_embeddings and second_embeddings must have the same shape, but they "
            f"are {first.shape} and {second.shape}."
        )
    if check_finite:
        first = _finite("first_embeddings", first)
        second = _finite("second_embeddings", second)
    dtype = tf.float64 if tf.float64 in (first.dtype, second.dtype) else tf.float32
    first, second = tf.cast(first, dtype), tf.cast(second, dtype)
    if not (first.shape.is_fully_defined() and second.shape.is_fully_defined()):
        first = _checked_at_run_time(first, second, whole_batch)
    # A size known for either view is known for both, which saves a `tf.cond` later.
    shape = first.shape.merge_with(second.shape)
    return tf.ensure_shape(first, shape), tf.ensure_shape(second, shape)


def validated(name: str, embeddings: Any, whole_batch: bool) -> tf.Tensor:
    """Returns one view, `[batch, dim]`, of any floating type."""
    embeddings = _to_tensor(name, embeddings)
    if not embeddings.dtype.is_floating:
        raise TypeError(
            f"{name} must be floating, but its dtype is {embeddings.dtype.name}."
        )
    if embeddings.shape.rank is None:
        return tf.ensure_shape(embeddings, [None, None])
    if embeddings.shape.rank != 2:
        raise ValueError(
            f"{name} must have the shape [batch, dim], but it is {embeddings.shape}."
        )
    batch, dim = embeddings.shape
    if dim == 0:
        raise ValueError(f"{name} must have at least one column, but it is empty.")
    if whole_batch and batch is not None and batch < 2:
        raise ValueError(_too_small(f"{name} has the shape {embeddings.shape}"))
    return embeddings


def _to_tensor(name: str, value: Any) -> tf.Tensor:
    try:
        return tf.convert_to_tensor(value, name=name)
    except (TypeError, ValueError) as error:
        message = f"{name} must be a tensor, but it is a {type(value).__name__}."
        raise TypeError(message) from error


def _checked_at_run_time(
    first: tf.Tensor, second: tf.Tensor, whole_batch: bool
) -> tf.Tensor:
    checks = [
        tf.debugging.assert_equal(
            tf.shape(first),
            tf.shape(second),
            "first_embeddings and second_embeddings must have the same shape.",
        )
    ]
    if whole_batch:
        checks.append(
            tf.debugging.assert_greater_equal(
                tf.shape(first)[0], 2, _too_small("the batch is smaller")
            )
        )
    return after(checks, first)


def _too_small(what: str) -> str:
    return (
        "Standardizing over the batch needs a batch of at least 2 rows, but "
        f"{what}. Drop the remainder of the last batch, or use a larger one."
    )


def _finite(name: str, embeddings: tf.Tensor) -> tf.Tensor:
    """Returns the embeddings, or fails and names the columns that are not finite."""
    bad = tf.reduce_any(~tf.math.is_finite(embeddings), axis=0)
    message = f"{name} must be finite, but there is a NaN or an infinity in columns"
    return after(
        [tf.debugging.Assert(~tf.reduce_any(bad), [message, tf.where(bad)[:, 0]])],
        embeddings,
    )


def validated_weights(sample_weight: Any, embeddings: tf.Tensor) -> tf.Tensor:
    """Returns the weight of each row, `[batch, 1]`, in the dtype of the embeddings."""
    if sample_weight is None:
        return tf.ones_like(embeddings[:, :1])
    weights = _to_tensor("sample_weight", sample_weight)
    if not (weights.dtype.is_floating or weights.dtype.is_integer):
        raise TypeError(
            f"sample_weight must hold numbers, but its dtype is {weights.dtype.name}."
        )
    weights = tf.cast(weights, embeddings.dtype)
    if not weights.shape.is_compatible_with(embeddings.shape[:1]):
        raise ValueError(
            f"sample_weight must have the shape [batch] = [{embeddings.shape[0]}], but "
            f"it is {weights.shape}."
        )
    check = tf.debugging.assert_non_negative(
        weights, "sample_weight must not be negative."
    )
    return tf.stop_gradient(after([check], weights)[:, tf.newaxis])


def root_weights(
    sample_weight: Any, embeddings: tf.Tensor, reduce: Reduce
) -> tf.Tensor:
    """Returns the root of each row's share: `[batch, 1]`, or a scalar if all equal."""
    if sample_weight is None:
        rows = reduce(tf.cast(tf.shape(embeddings)[0], embeddings.dtype))
        return tf.math.rsqrt(rows)
    weights = validated_weights(sample_weight, embeddings)
    total = reduce(tf.reduce_sum(weights))
    check = tf.debugging.assert_positive(
        total, "sample_weight must not be zero for every row."
    )
    return tf.sqrt(weights / after([check], total))


def after(checks: list[Any], value: tf.Tensor) -> tf.Tensor:
    """Returns `value` once the checks have passed; in eager mode they are `None`."""
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(value)
