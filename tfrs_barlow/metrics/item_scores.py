"""Ranks of labels and top k lists, from the scores of all items."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

MISS = float("inf")
"""The rank of a label that cannot be recommended."""


def rankable_scores(y_pred: Any, first_item_id: int) -> tf.Tensor:
    """Returns checked scores, `[batch, num_items]`; those of reserved ids are -inf."""
    scores = tf.convert_to_tensor(y_pred)
    if not scores.dtype.is_floating:
        raise TypeError(f"y_pred must be floating, but it is {scores.dtype.name}.")
    if scores.shape.rank != 2:
        raise ValueError(
            "y_pred must have the shape [batch, num_items], but it has the shape "
            f"{scores.shape}."
        )
    tf.debugging.assert_equal(
        tf.math.count_nonzero(tf.math.is_nan(scores)),
        tf.zeros([], tf.int64),
        message="y_pred must not hold NaN: no rank would mean anything.",
    )
    reserved = tf.range(tf.shape(scores)[1]) < first_item_id
    return tf.where(reserved, _excluded(scores), scores)


def label_ids(y_true: Any, num_rows: tf.Tensor) -> tf.Tensor:
    """Returns checked labels, one for each row: int64, `[num_rows]`."""
    labels = tf.convert_to_tensor(y_true)
    if not labels.dtype.is_integer:
        raise TypeError(
            f"y_true must hold integer item ids, but its type is {labels.dtype.name}."
        )
    labels = tf.reshape(tf.cast(labels, tf.int64), [-1])
    # A single label would be broadcast to all rows.
    tf.debugging.assert_equal(
        tf.shape(labels)[0],
        num_rows,
        message="y_true must hold one item id for each row of y_pred.",
    )
    return labels


def label_ranks(y_true: Any, y_pred: Any, first_item_id: int) -> tf.Tensor:
    """Returns the rank of each row's label, 1 is best: float32, `[batch]`.

    The rank is 1 + the number of items that score higher + that of the other items that
    score the same. A label that is reserved, out of range, or scored -inf has the rank
    `MISS`.
    """
    scores = rankable_scores(y_pred, first_item_id)
    labels = label_ids(y_true, tf.shape(scores)[0])
    last = tf.shape(scores, tf.int64)[1] - 1
    inside = (labels >= 0) & (labels <= last)
    label_scores = tf.gather(scores, tf.clip_by_value(labels, 0, last), batch_dims=1)
    # "Not lower" counts the label itself, which is the 1 of the rank. Under XLA, which
    # drops the check for NaN, it also counts NaN against the label.
    before = ~(scores < label_scores[:, tf.newaxis])
    ranks = tf.reduce_sum(tf.cast(before, tf.float32), axis=1)
    return tf.where(inside & (label_scores > _excluded(scores)), ranks, MISS)


def top_items(
    y_pred: Any, k: int, first_item_id: int, num_items: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns each row's k best ids, and whether each of them is recommended.

    Both are `[batch, min(k, num_items)]`. Of equal scores the lower id comes first. If
    fewer than `k` items are left, the rest of the row is not recommended.
    """
    scores = rankable_scores(y_pred, first_item_id)
    if not scores.shape[1:].is_compatible_with([num_items]):
        raise ValueError(
            f"y_pred must have {num_items} columns, one for each item id, but it has "
            f"the shape {scores.shape}."
        )
    scores = tf.ensure_shape(scores, [None, num_items])
    best, ids = tf.math.top_k(scores, min(k, num_items))
    return ids, best > _excluded(scores)


def row_weights(sample_weight: Any | None, num_rows: tf.Tensor) -> tf.Tensor:
    """Returns the weight of each row, float32, `[num_rows]`: 1 without weights."""
    weights = 1.0 if sample_weight is None else sample_weight
    weights = tf.reshape(tf.cast(weights, tf.float32), [-1])
    return tf.broadcast_to(weights, [num_rows])


def _excluded(scores: tf.Tensor) -> tf.Tensor:
    """Returns the score of what is never recommended."""
    return tf.constant(float("-inf"), scores.dtype)
