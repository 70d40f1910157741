"""Augmentations of the items that are close to the next in time, or far from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.layers.augmentation.draws import KEY_SPAN, random_keys
from tfrs_barlow.layers.augmentation.random_mask import RandomMask
from tfrs_barlow.layers.augmentation.row_ops import ranks
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch
from tfrs_barlow.layers.augmentation.similar_items import RandomInsert, RandomSubstitute
from tfrs_barlow.layers.augmentation.time_intervals import (
    Preference,
    TimeIntervalAugmentation,
    to_next,
    whole_numbers,
)

_BITS = 63 - KEY_SPAN.bit_length()
"""How long an interval may be for an int64 to hold it and a random integer."""


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TimeIntervalMask(TimeIntervalAugmentation, RandomMask):
    """Replaces items by the mask token: those closest to the next in time, or farthest.

    Of n items, `rate * n` are hidden, rounded up or down at random so that the mean is
    exact; one always stays visible. They are those with the smallest (or largest) time
    until the next item, where the last item, which has none after it, counts like the
    one before. Which of equal ones is random.

    Apart from rounding and ties nothing here is random unless `prefer` is `"random"`:
    two views by this alone are then mostly twins.

    Example:
        >>> mask = tfrsb.layers.TimeIntervalMask(0.4, prefer="minimum")
        >>> history = {
        ...     "item_id": tf.constant([[3, 4, 5, 6, 7]]),
        ...     "timestamp": tf.constant([[0, 500, 510, 530, 900]]),
        ... }
        >>> mask(history, training=True)["item_id"].numpy()
        array([[3, 1, 1, 6, 7]], dtype=int32)

    References:
        Dang et al. 2023, Uniform Sequence Better: Time Interval Aware Data Augmentation
        for Sequential Recommendation (TiCoSeRec), arXiv 2212.08262; rate 0.5 and random
        in its code, which else never hides the last item.
    """

    preferences = ("random", *TimeIntervalAugmentation.preferences)

    def __init__(
        self,
        rate: float,
        *,
        prefer: Literal["random"] | Preference = "random",
        time_column: str = "timestamp",
        mask_values: Mapping[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the layer.

        Args:
            rate: The share of the items to hide, in [0, 1].
            prefer: Whether to hide the items with the `"minimum"` or the `"maximum"` of
                intervals; or `"random"`: any, as `RandomMask` does, without times.
            time_column: The column that holds the times: integers or floats,
                `[batch, length]`.
            mask_values: By column, what stands for a hidden value: see `RandomMask`.
            name: The name of the layer.
            **kwargs: As of `SequenceAugmentation`.

        Raises:
            ValueError: If `rate` is outside [0, 1] or `prefer` is unknown.
        """
        super().__init__(
            rate,
            prefer=prefer,
            time_column=time_column,
            mask_values=mask_values,
            name=name,
            **kwargs,
        )

    def _hidden(
        self, batch: SequenceBatch, counts: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        if self.prefer == "random":
            return super()._hidden(batch, counts, seed)
        intervals = _with_last(self.intervals(batch), batch)
        keys = random_keys(batch.lengths, batch.width, seed)
        return _preferred(self.prefer, intervals, counts, batch.lengths, keys)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TimeIntervalSubstitute(TimeIntervalAugmentation, RandomSubstitute):
    """Replaces the items closest to the next in time by similar ones.

    Of n items, `rate * n` are replaced, rounded up or down at random so that the mean
    is exact; those without a neighbor stay. They are those with the smallest (or
    largest) time until the next item, where the last item, which has none after it,
    counts like the one before. Which of equal ones is random, as is which of its
    neighbors comes in.

    Example:
        >>> neighbors = [[0], [0], [0], [4], [3]]  # 3 and 4 are alike.
        >>> substitute = tfrsb.layers.TimeIntervalSubstitute(0.4, neighbors)
        >>> history = {
        ...     "item_id": tf.constant([[3, 3, 3, 3, 3]]),
        ...     "timestamp": tf.constant([[0, 500, 510, 530, 900]]),
        ... }
        >>> substitute(history, training=True)["item_id"].numpy()
        array([[3, 4, 4, 3, 3]], dtype=int32)

    References:
        Dang et al. 2023, Uniform Sequence Better: Time Interval Aware Data Augmentation
        for Sequential Recommendation (TiCoSeRec), arXiv 2212.08262; rate 0.1 and the
        minimum in its code, which never replaces the last item.
    """

    def __init__(
        self,
        rate: float,
        neighbors: npt.ArrayLike,
        *,
        item_tables: Mapping[str, npt.ArrayLike] | None = None,
        prefer: Preference = "minimum",
        time_column: str = "timestamp",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the layer.

        Args:
            rate: The share of the items to replace, in [0, 1].
            neighbors: `[vocabulary size, k]`, integers: the items similar to each id:
                see `RandomSubstitute`.
            item_tables: By column, its values by item id, `[vocabulary size, ...]`.
                Columns without a table, such as the times, stay as they are.
            prefer: Whether to replace the items with the `"minimum"` or the `"maximum"`
                of intervals.
            time_column: The column that holds the times: integers or floats,
                `[batch, length]`.
            name: The name of the layer.
            **kwargs: As of `RandomSubstitute`.

        Raises:
            ValueError: If `rate` is outside [0, 1], `prefer` is unknown, `neighbors`
                is not a table of ids, or a table does not have a row for each id.
        """
        super().__init__(
            rate,
            neighbors=neighbors,
            item_tables=item_tables,
            prefer=prefer,
            time_column=time_column,
            name=name,
            **kwargs,
        )

    def _drawn(
        self, batch: SequenceBatch, counts: tf.Tensor, keys: tf.Tensor
    ) -> tf.Tensor:
        intervals = _with_last(self.intervals(batch), batch)
        return _preferred(self.prefer, intervals, counts, batch.lengths, keys)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TimeIntervalInsert(TimeIntervalAugmentation, RandomInsert):
    """Inserts similar items where most time passes between two items.

    Into each of the largest (or smallest) intervals goes one item, like the item at its
    start, with the time half-way to the item at its end (rounded down if times are
    integers): so times stay sorted. Which of equal intervals is random, as is which
    neighbor comes in.

    Of n items, `rate * n` get one after them, rounded up or down at random so that the
    mean is exact, but at most n - 1, all intervals that there are; after an item
    without a neighbor nothing is inserted. The sequence grows: a ragged one by as many
    items; a dense one keeps its width, and loses its oldest items where they no longer
    fit.

    Example:
        >>> neighbors = [[0], [0], [0], [4], [3]]  # 3 and 4 are alike.
        >>> insert = tfrsb.layers.TimeIntervalInsert(0.5, neighbors)
        >>> history = {
        ...     "item_id": tf.ragged.constant([[3, 3, 3, 4]]),
        ...     "timestamp": tf.ragged.constant([[0, 500, 510, 900]]),
        ... }
        >>> view = insert(history, training=True)
        >>> view["item_id"], view["timestamp"]
        (<tf.RaggedTensor [[3, 4, 3, 3, 4, 4]]>,
         <tf.RaggedTensor [[0, 250, 500, 510, 705, 900]]>)

    References:
        Dang et al. 2023, Uniform Sequence Better: Time Interval Aware Data Augmentation
        for Sequential Recommendation (TiCoSeRec), arXiv 2212.08262; rate 0.5 and the
        maximum in its code, which returns no times.
    """

    _goes_after = True

    def __init__(
        self,
        rate: float,
        neighbors: npt.ArrayLike,
        *,
        item_tables: Mapping[str, npt.ArrayLike] | None = None,
        prefer: Preference = "maximum",
        time_column: str = "timestamp",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the layer.

        Args:
            rate: How many items to insert, as a share of those there are, in [0, 1].
            neighbors: `[vocabulary size, k]`, integers: the items similar to each id:
                see `RandomInsert`.
            item_tables: By column, its values by item id, `[vocabulary size, ...]`.
                Columns without a table, other than the times, take the value of the
                item before.
            prefer: Whether to fill the `"minimum"` or the `"maximum"` of intervals.
            time_column: The column that holds the times: integers or floats,
                `[batch, length]`.
            name: The name of the layer.
            **kwargs: As of `RandomInsert`.

        Raises:
            ValueError: If `rate` is outside [0, 1], `prefer` is unknown, `neighbors`
                is not a table of ids, or a table does not have a row for each id.
        """
        super().__init__(
            rate,
            neighbors=neighbors,
            item_tables=item_tables,
            prefer=prefer,
            time_column=time_column,
            name=name,
            **kwargs,
        )

    def _drawn(
        self, batch: SequenceBatch, counts: tf.Tensor, keys: tf.Tensor
    ) -> tf.Tensor:
        there_are = tf.maximum(batch.lengths - 1, 0)
        counts = tf.minimum(counts, there_are)
        intervals = self.intervals(batch)
        return _preferred(self.prefer, intervals, counts, there_are, keys)

    def _new_items(self, batch: SequenceBatch, similar: tf.Tensor) -> SequenceBatch:
        new = super()._new_items(batch, similar)
        times = self.times(batch)
        steps = to_next(times)
        half_way = times + (steps // 2 if steps.dtype.is_integer else steps / 2)
        column = tf.cast(half_way, batch.columns[self.time_column].dtype)
        return new._replace(columns={**new.columns, self.time_column: column})


def _with_last(intervals: tf.Tensor, batch: SequenceBatch) -> tf.Tensor:
    """Returns the intervals; that of the last item is as the one before."""
    is_last = batch.positions == batch.lengths[:, tf.newaxis] - 1
    before = tf.concat([tf.zeros_like(intervals[:, :1]), intervals[:, :-1]], axis=1)
    return tf.where(is_last, before, intervals)


def _preferred(
    prefer: str,
    intervals: tf.Tensor,
    counts: tf.Tensor,
    lengths: tf.Tensor,
    keys: tf.Tensor,
) -> tf.Tensor:
    """Returns which positions have the smallest or largest intervals of their row.

    Which of equal ones is random: every choice is equally likely.

    Args:
        prefer: `"minimum"` or `"maximum"`.
        intervals: `[batch, length]`, float64, not negative.
        counts: `[batch]`, int32, how many, between 0 and `lengths`.
        lengths: `[batch]`, int32, among how many.
        keys: `[batch, length]`, as of `random_keys`: those of equal intervals that have
            the largest are taken.

    Returns:
        `[batch, length]`, bool; true `counts` times in a row, within its length.
    """
    whole = whole_numbers(intervals, tf.reduce_max(intervals, axis=1), _BITS)
    if prefer == "minimum":
        whole = 2**_BITS - whole
    within = tf.range(tf.shape(keys)[1])[tf.newaxis] < lengths[:, tf.newaxis]
    # The interval, followed by the key, which decides between equal ones.
    both = tf.where(within, whole * KEY_SPAN + tf.cast(keys, tf.int64), -1)
    return ranks(both) < counts[:, tf.newaxis]
