"""The best candidates by any score, found exactly and a block at a time."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfrs_barlow.serving.items import NOWHERE, require

Score = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From the first position and the one after the last to scores `[batch, positions]`."""

_EXCLUDED = -float("inf")


def top_k(
    score: Score,
    size: tf.Tensor,
    block: tf.Tensor,
    batch: tf.Tensor,
    k: tf.Tensor,
    excluded: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the positions of the `k` best candidates of every row, and their scores.

    All candidates are scored, but only a block of them at a time, so the memory needed
    does not depend on their number.

    Args:
        score: Computes float32 scores for a block of positions.
        size: How many candidates there are, an int32 scalar.
        block: How many of them are scored at a time, an int32 scalar.
        batch: How many rows there are, an int32 scalar.
        k: How many candidates to return, from 1 to `size`: an integer for all rows, of
            shape `[]` or `[1]`, or one for each, `[batch]`.
        excluded: `[batch, any]`, positions to leave out of the row's result. `NOWHERE`
            is ignored.

    Returns:
        Positions (int32) and scores, both `[batch, largest k]`, best first; of equal
        scores the lower position comes first. Entries past the row's own `k`, and
        those for which no candidate is left, are `NOWHERE` with the score -inf.

    Raises:
        tf.errors.InvalidArgumentError: If `k` is out of range or has another shape.
    """
    k = _checked(k, size, batch)
    width = tf.reduce_max(tf.pad(k, [[0, 1]]))  # 0 for no rows.

    def take_block(
        start: tf.Tensor, positions: tf.Tensor, scores: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        stop = tf.minimum(start + block, size)
        block_scores = _exclude(score(start, stop), excluded - start)
        best, columns = tf.math.top_k(block_scores, tf.minimum(width, stop - start))
        # What was found before comes first, so it wins where scores are equal.
        scores, winners = tf.math.top_k(
            tf.concat([scores, best], axis=1),
            tf.minimum(width, tf.shape(scores)[1] + tf.shape(best)[1]),
        )
        positions = tf.concat([positions, columns + start], axis=1)
        return stop, tf.gather(positions, winners, batch_dims=1), scores

    rows = tf.TensorShape([None, None])
    _, positions, scores = tf.while_loop(
        lambda start, *_: start < size,
        take_block,
        [tf.constant(0), tf.zeros([batch, 0], tf.int32), tf.zeros([batch, 0])],
        shape_invariants=[tf.TensorShape([]), rows, rows],
        parallel_iterations=1,
    )
    wanted = tf.broadcast_to(tf.range(width) < k[:, tf.newaxis], [batch, width])
    found = wanted & (scores > _EXCLUDED)
    return tf.where(found, positions, NOWHERE), tf.where(found, scores, _EXCLUDED)


def _checked(k: tf.Tensor, size: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Returns `k` as int32 `[1]` or `[batch]`."""
    rows = require(
        tf.reshape(k, [-1]),
        (tf.rank(k) <= 1) & ((tf.size(k) == 1) | (tf.size(k) == batch)),
        *("k must be one number, or one for each of", batch),
        *("rows; its shape is", tf.shape(k)),
    )
    in_range = tf.reduce_all((rows >= 1) & (rows <= tf.cast(size, rows.dtype)))
    rows = require(rows, in_range, "k must lie in [1,", size, "], but it is", k)
    return tf.cast(rows, tf.int32)


def _exclude(scores: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Sets the scores at `columns` to -inf, those that are columns of `scores`."""
    places = tf.where((columns >= 0) & (columns < tf.shape(scores)[1]))
    cells = tf.stack(
        [places[:, 0], tf.cast(tf.gather_nd(columns, places), tf.int64)], axis=1
    )
    return tf.tensor_scatter_nd_update(
        scores, cells, tf.fill([tf.shape(cells)[0]], _EXCLUDED)
    )
