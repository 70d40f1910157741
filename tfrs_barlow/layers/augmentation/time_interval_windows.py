"""Augmentations of the stretch of a sequence in which time passes most evenly."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow.layers.augmentation.draws import random_choices
from tfrs_barlow.layers.augmentation.random_crop import RandomCrop
from tfrs_barlow.layers.augmentation.random_reorder import RandomReorder
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch
from tfrs_barlow.layers.augmentation.time_intervals import (
    Preference,
    TimeIntervalAugmentation,
    whole_numbers,
)


class _Window(TimeIntervalAugmentation):
    """Finds the stretch whose intervals vary least, or most."""

    def __init__(
        self,
        rate: float,
        *,
        prefer: Preference = "minimum",
        time_column: str = "timestamp",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the layer.

        Args:
            rate: The share of the items in the stretch, in [0, 1].
            prefer: Whether the variance of the intervals shall be the `"minimum"` or
                the `"maximum"`.
            time_column: The column that holds the times: integers or floats,
                `[batch, length]`.
            name: The name of the layer.
            **kwargs: As of `RandomCrop` and `RandomReorder`.

        Raises:
            ValueError: If `rate` is outside [0, 1] or `prefer` is unknown.
        """
        super().__init__(
            rate, prefer=prefer, time_column=time_column, name=name, **kwargs
        )

    def _starts(
        self, batch: SequenceBatch, counts: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """Returns where the best stretch of `counts` items starts, `[batch]`, int32."""
        spread = _spread(self.intervals(batch), tf.maximum(counts - 1, 0))
        if self.prefer == "maximum":
            spread = -spread
        fits = batch.positions <= (batch.lengths - counts)[:, tf.newaxis]
        spread = tf.where(fits, spread, tf.int64.max)
        best = spread == tf.reduce_min(spread, axis=1, keepdims=True)
        return _one_of(best, seed)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TimeIntervalCrop(_Window, RandomCrop):
    """Keeps the stretch of each sequence in which time passes most evenly.

    Of n items, `rate * n` are kept, rounded up or down at random so that the mean is
    exact, and at least one: of all stretches of that length the one whose intervals,
    from each item to the next, have the smallest variance. Equal ones are equally
    likely; so are all of one or two items, as a single interval does not vary.

    Apart from rounding and ties nothing here is random. Two views by this alone are
    mostly twins, of which nothing can be learned: let `RandomChoice` mix it with
    others, or apply others after it.

    Example:
        >>> crop = tfrsb.layers.TimeIntervalCrop(0.6)
        >>> history = {
        ...     "item_id": tf.constant([[3, 4, 5, 6, 7]]),
        ...     "timestamp": tf.constant([[0, 500, 510, 520, 900]]),
        ... }
        >>> crop(history, training=True)["item_id"].numpy()
        array([[4, 5, 6, 0, 0]], dtype=int32)

    References:
        Dang et al. 2023, Uniform Sequence Better: Time Interval Aware Data Augmentation
        for Sequential Recommendation (TiCoSeRec), arXiv 2212.08262; rate 0.7 and the
        minimum in its code, which leaves the last interval of a stretch out.
    """


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TimeIntervalReorder(_Window, RandomReorder):
    """Shuffles the stretch of each sequence in which time passes most evenly.

    Of n items, `rate * n` are shuffled, rounded up or down at random so that the mean
    is exact, and at least two (unless `rate` is 0): of all stretches of that length the
    one whose intervals, from each item to the next, have the smallest variance. Equal
    ones are equally likely; so are all of two items, as a single interval does not
    vary. All permutations are equally likely.

    Times move along with their items, so that a column of times is no longer sorted.

    Example:
        >>> reorder = tfrsb.layers.TimeIntervalReorder(0.6)
        >>> history = {
        ...     "item_id": tf.constant([[3, 4, 5, 6, 7]]),
        ...     "timestamp": tf.constant([[0, 500, 510, 520, 900]]),
        ... }
        >>> view = reorder(history, training=True)["item_id"].numpy()[0].tolist()
        >>> view[0], sorted(view[1:4]), view[4]
        (3, [4, 5, 6], 7)

    References:
        Dang et al. 2023, Uniform Sequence Better: Time Interval Aware Data Augmentation
        for Sequential Recommendation (TiCoSeRec), arXiv 2212.08262; rate 0.2 and the
        minimum in its code, which leaves the last interval of a stretch out, and
        sequences of fewer than ten items as they are.
    """


def _spread(intervals: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Returns how much the intervals vary in the stretches that start at each position.

    That is size**2 times their variance, exactly, in a unit that differs by row.

    Args:
        intervals: `[batch, length]`, float64, not negative.
        sizes: `[batch]`, int32, the number of intervals in a stretch.

    Returns:
        `[batch, length]`, int64; of no meaning where a stretch does not fit.
    """
    ends = tf.range(tf.shape(intervals)[1])[tf.newaxis] + sizes[:, tf.newaxis]
    ends = tf.minimum(ends, tf.shape(intervals)[1] - 1)

    def sums(values: tf.Tensor) -> tf.Tensor:
        before = tf.cumsum(values, axis=1, exclusive=True)
        return tf.gather(before, ends, batch_dims=1) - before

    # The unit is such that size * sum(x**2) <= size * max(x) * sum(x) < 2**62.
    bound = tf.reduce_max(intervals, axis=1) * tf.reduce_sum(intervals, axis=1)
    bound = tf.sqrt(bound * tf.cast(tf.maximum(sizes, 1), tf.float64))
    whole = whole_numbers(intervals, bound, bits=31)
    size = tf.cast(sizes, tf.int64)[:, tf.newaxis]
    return size * sums(tf.square(whole)) - tf.square(sums(whole))


def _one_of(candidates: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns one true position of each row, all equally likely.

    Args:
        candidates: `[batch, length]`, bool; some in each row, unless length is 0.
        seed: `[2]`.
    """
    count = tf.reduce_sum(tf.cast(candidates, tf.int32), axis=1)
    number = random_choices(tf.maximum(count, 1), seed)
    # It stands where the running count first exceeds its number.
    so_far = tf.cumsum(tf.cast(candidates, tf.int32), axis=1)
    before = so_far <= number[:, tf.newaxis]
    return tf.reduce_sum(tf.cast(before, tf.int32), axis=1)
