"""Augmentations that prefer small or large times between items (TiCoSeRec)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow._checks import one_of, text
from tfrs_barlow.layers.augmentation.base import RatedAugmentation
from tfrs_barlow.layers.augmentation.draws import KEY_SPAN, random_choices, random_keys
from tfrs_barlow.layers.augmentation.random_crop import RandomCrop
from tfrs_barlow.layers.augmentation.random_mask import RandomMask
from tfrs_barlow.layers.augmentation.random_reorder import RandomReorder
from tfrs_barlow.layers.augmentation.row_ops import ranks
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch
from tfrs_barlow.layers.augmentation.similar_items import RandomInsert, RandomSubstitute

Preference = Literal["minimum", "maximum"]

_BITS = 63 - KEY_SPAN.bit_length()
"""How long an interval may be for an int64 to hold it and a random integer."""


class _TimeInterval(RatedAugmentation):
    """Base of the augmentations that prefer small or large times between items.

    The interval of an item is the time until the next one; it counts as positive where
    times are not sorted. Times are a column of integers or floats, in any unit, without
    infinities and NaN. Unix seconds need 64 bits: float32 rounds them to two minutes.
    """

    _preferences: tuple[str, ...] = get_args(Preference)

    def __init__(
        self,
        rate: float,
        *,
        prefer: str,
        time_column: str = "timestamp",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, name=name, **kwargs)
        self.prefer = one_of("prefer", prefer, self._preferences)
        self.time_column = text("time_column", time_column)

    def _times(self, batch: SequenceBatch) -> tf.Tensor:
        """Returns the times of the items, `[batch, length]`, int64 or float64."""
        if self.time_column not in batch.columns:
            raise ValueError(
                f"{type(self).__name__} reads the times of the items from the column "
                f"{self.time_column!r} (set time_column to change the name), but the "
                f"columns of the inputs are {sorted(batch.columns)}."
            )
        times = batch.columns[self.time_column]
        numeric = times.dtype.is_integer or times.dtype.is_floating
        if not numeric or times.shape.rank != 2:
            raise TypeError(
                f"Times (the column {self.time_column!r}) must be numbers of shape "
                f"[batch, length], but they are {times.dtype.name} of shape "
                f"{times.shape}."
            )
        return tf.cast(times, tf.int64 if times.dtype.is_integer else tf.float64)

    def _intervals(self, batch: SequenceBatch) -> tf.Tensor:
        """Returns the interval of each item, `[batch, length]`, float64.

        It is 0 from the last item on.
        """
        # Subtracted before they become floats, so that no digit of an integer is lost.
        steps = _to_next(self._times(batch))
        has_next = batch.positions < batch.lengths[:, tf.newaxis] - 1
        return tf.where(has_next, tf.abs(tf.cast(steps, tf.float64)), 0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "prefer": self.prefer,
            "time_column": self.time_column,
        }


class _Window(_TimeInterval):
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
        super().__init__(
            rate, prefer=prefer, time_column=time_column, name=name, **kwargs
        )

    def _starts(
        self, batch: SequenceBatch, counts: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """Returns where the best stretch of `counts` items starts, `[batch]`, int32."""
        spread = _spread(self._intervals(batch), tf.maximum(counts - 1, 0))
        if self.prefer == "maximum":
            spread = -spread
        fits = batch.positions <= (batch.lengths - counts)[:, tf.newaxis]
        spread = tf.where(fits, spread, tf.int64.max)
        best = spread == tf.reduce_min(spread, axis=1, keepdims=True)
        return _one_position(best, seed)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TimeIntervalCrop(_Window, RandomCrop):
    """Keeps the share `rate` of each sequence: the stretch with the most even times.

    Of n items, `rate * n` are kept, rounded up or down at random so that the mean is
    exact, and at least one: of all stretches of that length the one whose intervals,
    from each item to the next, have the smallest variance. Equal ones are equally
    likely; so are all of one or two items, as a single interval does not vary.

    Apart from rounding and ties nothing here is random. Two views made by this alone
    are mostly identical, and nothing can be learned from them: let `RandomChoice` mix
    it with others, or apply others after it.

    Args:
        rate: The share of the items to keep, in [0, 1].
        prefer: Whether the variance of the intervals is to be the `"minimum"` or the
            `"maximum"`.
        time_column: The column of times: integers or floats, `[batch, length]`.
        name: The name of the layer.
        **kwargs: Passed on to `RandomCrop`: `keep_suffix`, `item_column`,
            `padding_side`, `always_active` and `seed`.

    Examples:
        >>> crop = tfrsb.layers.TimeIntervalCrop(0.6)
        >>> times = tf.constant([[0, 500, 510, 520, 900]])
        >>> history = {"item_id": tf.constant([[3, 4, 5, 6, 7]]), "timestamp": times}
        >>> crop(history, training=True)["item_id"].numpy()
        array([[4, 5, 6, 0, 0]], dtype=int32)

    References:
        Dang et al. (2023), "Uniform Sequence Better" (TiCoSeRec),
        https://arxiv.org/abs/2212.08262; its code has a rate of 0.7 and
        the minimum, and leaves the last interval of a stretch out.
    """


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TimeIntervalReorder(_Window, RandomReorder):
    """Shuffles the share `rate` of each sequence: the stretch with the most even times.

    Of n items, `rate * n` are shuffled, rounded up or down at random so that the mean
    is exact, and at least two (unless `rate` is 0): of all stretches of that length the
    one whose intervals, from each item to the next, have the smallest variance. Equal
    ones are equally likely; so are all of two items, as a single interval does not
    vary. All permutations are equally likely.

    Times move along with their items, so that a column of times is no longer sorted.

    Args:
        rate: The share of the items to shuffle, in [0, 1].
        prefer: Whether the variance of the intervals is to be the `"minimum"` or the
            `"maximum"`.
        time_column: The column of times: integers or floats, `[batch, length]`.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> reorder = tfrsb.layers.TimeIntervalReorder(0.6)
        >>> times = tf.constant([[0, 500, 510, 520, 900]])
        >>> history = {"item_id": tf.constant([[3, 4, 5, 6, 7]]), "timestamp": times}
        >>> view = reorder(history, training=True)["item_id"].numpy()[0].tolist()
        >>> view[0], sorted(view[1:4]), view[4]
        (3, [4, 5, 6], 7)

    References:
        Dang et al. (2023), "Uniform Sequence Better" (TiCoSeRec),
        https://arxiv.org/abs/2212.08262; its code has a rate of 0.2 and
        the minimum, leaves the last interval of a stretch out, and leaves sequences of
        fewer than ten items as they are.
    """


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TimeIntervalMask(_TimeInterval, RandomMask):
    """Hides the share `rate` of each sequence: the items nearest to the next in time.

    Of n items, `rate * n` are hidden, rounded up or down at random so that the mean is
    exact; one always stays visible. They are those with the smallest (or largest) time
    until the next item; the last item, which has no next one, counts like the one
    before. Which of equal ones is random.

    Apart from rounding and ties nothing here is random unless `prefer` is `"random"`:
    two views made by this alone are then mostly identical.

    Args:
        rate: The share of the items to hide, in [0, 1].
        prefer: Whether to hide the items with the `"minimum"` or the `"maximum"` of
            intervals; or `"random"`: any, as `RandomMask` does, without times.
        time_column: The column of times: integers or floats, `[batch, length]`.
        mask_values: By column, what replaces a hidden value. By default the item ids
            become `MASK_ID` and all other columns stay visible.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> mask = tfrsb.layers.TimeIntervalMask(0.4, prefer="minimum")
        >>> times = tf.constant([[0, 500, 510, 530, 900]])
        >>> history = {"item_id": tf.constant([[3, 4, 5, 6, 7]]), "timestamp": times}
        >>> mask(history, training=True)["item_id"].numpy()
        array([[3, 1, 1, 6, 7]], dtype=int32)

    References:
        Dang et al. (2023), "Uniform Sequence Better" (TiCoSeRec),
        https://arxiv.org/abs/2212.08262; its code has a rate of 0.5 and
        `"random"`, and otherwise never hides the last item.
    """

    _preferences = ("random", *_TimeInterval._preferences)

    def __init__(
        self,
        rate: float,
        *,
        prefer: Literal["random", "minimum", "maximum"] = "random",
        time_column: str = "timestamp",
        mask_values: Mapping[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
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
        intervals = _with_last(self._intervals(batch), batch)
        keys = random_keys(batch.lengths, batch.width, seed)
        return _preferred(self.prefer, intervals, counts, batch.lengths, keys)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TimeIntervalSubstitute(_TimeInterval, RandomSubstitute):
    """Replaces the share `rate` of the items, those nearest in time to the next.

    Of n items, `rate * n` are replaced by similar ones, rounded up or down at random so
    that the mean is exact; those without a neighbor stay. They are those with the
    smallest (or largest) time until the next item; the last item, which has no next
    one, counts like the one before. Which of equal ones is random, as is which of its
    neighbors comes in.

    Args:
        rate: The share of the items to replace, in [0, 1].
        neighbors: `[vocabulary size, k]`, integers: the items similar to each id,
            filled up with `PADDING_ID`, such as `tfrsb.data.cooccurrence_neighbors`
            returns.
        item_tables: By column, its values by item id, `[vocabulary size, ...]`: so a
            new item brings its own category. Columns without a table stay as they are.
        at_least: The least number of items to replace, if a sequence has as many.
        prefer: Whether to replace the items with the `"minimum"` or the `"maximum"` of
            intervals.
        time_column: The column of times: integers or floats, `[batch, length]`.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> neighbors = [[0], [0], [0], [4], [3]]  # 3 and 4 are alike.
        >>> substitute = tfrsb.layers.TimeIntervalSubstitute(0.4, neighbors)
        >>> times = tf.constant([[0, 500, 510, 530, 900]])
        >>> history = {"item_id": tf.constant([[3, 3, 3, 3, 3]]), "timestamp": times}
        >>> substitute(history, training=True)["item_id"].numpy()
        array([[3, 4, 4, 3, 3]], dtype=int32)

    References:
        Dang et al. (2023), "Uniform Sequence Better" (TiCoSeRec),
        https://arxiv.org/abs/2212.08262; its code has a rate of 0.1 and
        the minimum, and never replaces the last item.
    """

    def __init__(
        self,
        rate: float,
        neighbors: npt.ArrayLike,
        *,
        item_tables: Mapping[str, npt.ArrayLike] | None = None,
        at_least: int = 0,
        prefer: Preference = "minimum",
        time_column: str = "timestamp",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            rate,
            neighbors=neighbors,
            item_tables=item_tables,
            at_least=at_least,
            prefer=prefer,
            time_column=time_column,
            name=name,
            **kwargs,
        )

    def _drawn(
        self, batch: SequenceBatch, counts: tf.Tensor, keys: tf.Tensor
    ) -> tf.Tensor:
        intervals = _with_last(self._intervals(batch), batch)
        return _preferred(self.prefer, intervals, counts, batch.lengths, keys)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TimeIntervalInsert(_TimeInterval, RandomInsert):
    """Inserts the share `rate` of new items, where most time passes between two items.

    Each of the largest (or smallest) intervals gets one item, like the item at its
    start, with the time half-way to the item at its end (rounded down if times are
    integers), so that times stay sorted. Which of equal intervals is random, as is
    which neighbor comes in.

    Of n items, `rate * n` get one after them, rounded up or down at random so that the
    mean is exact, but at most n - 1, which is the number of intervals; after an item
    without a neighbor nothing is inserted. The sequence grows: a ragged one by as many
    items; a dense one keeps its width, and loses its oldest items where they no longer
    fit.

    Args:
        rate: How many items to insert, as a share of those there are, in [0, 1].
        neighbors: `[vocabulary size, k]`, integers: the items similar to each id,
            filled up with `PADDING_ID`, such as `tfrsb.data.cooccurrence_neighbors`
            returns.
        item_tables: By column, its values by item id, `[vocabulary size, ...]`: so a
            new item brings its own category. Columns without a table, other than the
            times, take the value of the item before.
        at_least: The least number of items to insert, if a sequence has as many
            intervals.
        prefer: Whether to fill the `"minimum"` or the `"maximum"` of intervals.
        time_column: The column of times: integers or floats, `[batch, length]`.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> neighbors = [[0], [0], [0], [4], [3]]  # 3 and 4 are alike.
        >>> insert = tfrsb.layers.TimeIntervalInsert(0.5, neighbors)
        >>> times = tf.ragged.constant([[0, 500, 510, 900]])
        >>> items = tf.ragged.constant([[3, 3, 3, 4]])
        >>> history = {"item_id": items, "timestamp": times}
        >>> view = insert(history, training=True)
        >>> view["item_id"], view["timestamp"]
        (<tf.RaggedTensor [[3, 4, 3, 3, 4, 4]]>,
         <tf.RaggedTensor [[0, 250, 500, 510, 705, 900]]>)

    References:
        Dang et al. (2023), "Uniform Sequence Better" (TiCoSeRec),
        https://arxiv.org/abs/2212.08262; its code has a rate of 0.5 and
        the maximum, and returns no times.
    """

    _goes_after = True

    def __init__(
        self,
        rate: float,
        neighbors: npt.ArrayLike,
        *,
        item_tables: Mapping[str, npt.ArrayLike] | None = None,
        at_least: int = 0,
        prefer: Preference = "maximum",
        time_column: str = "timestamp",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            rate,
            neighbors=neighbors,
            item_tables=item_tables,
            at_least=at_least,
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
        intervals = self._intervals(batch)
        return _preferred(self.prefer, intervals, counts, there_are, keys)

    def _new_items(self, batch: SequenceBatch, similar: tf.Tensor) -> SequenceBatch:
        new = super()._new_items(batch, similar)
        times = self._times(batch)
        steps = _to_next(times)
        half_way = times + (steps // 2 if steps.dtype.is_integer else steps / 2)
        column = tf.cast(half_way, batch.columns[self.time_column].dtype)
        return new._replace(columns={**new.columns, self.time_column: column})


def _to_next(times: tf.Tensor) -> tf.Tensor:
    """Returns by how much each time is before the next; 0 for the last of a row."""
    steps = times[:, 1:] - times[:, :-1]
    return tf.concat([steps, tf.zeros_like(times[:, :1])], axis=1)


def _with_last(intervals: tf.Tensor, batch: SequenceBatch) -> tf.Tensor:
    """Returns the intervals; the last item gets that of the item before."""
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

    Of equal intervals, every choice is equally likely: those with the largest keys are
    taken. True `counts` times in a row, within the first `lengths` positions.
    """
    integers = _to_integers(intervals, tf.reduce_max(intervals, axis=1), _BITS)
    if prefer == "minimum":
        integers = 2**_BITS - integers
    within = tf.range(tf.shape(keys)[1])[tf.newaxis] < lengths[:, tf.newaxis]
    # The interval, followed by the key, which decides between equal ones.
    both = tf.where(within, integers * KEY_SPAN + tf.cast(keys, tf.int64), -1)
    return ranks(both) < counts[:, tf.newaxis]


def _spread(intervals: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Returns how much the intervals vary in the stretches that start at each position.

    That is size**2 times their variance, exactly, in a unit that differs by row. It has
    no meaning where a stretch does not fit.

    Args:
        intervals: `[batch, length]`, float64, not negative.
        sizes: `[batch]`, int32, the number of intervals in a stretch.

    Returns:
        `[batch, length]`, int64.
    """
    ends = tf.range(tf.shape(intervals)[1])[tf.newaxis] + sizes[:, tf.newaxis]
    ends = tf.minimum(ends, tf.shape(intervals)[1] - 1)

    def sums(values: tf.Tensor) -> tf.Tensor:
        before = tf.cumsum(values, axis=1, exclusive=True)
        return tf.gather(before, ends, batch_dims=1) - before

    # The unit is such that size * sum(x**2) <= size * max(x) * sum(x) < 2**62.
    bound = tf.reduce_max(intervals, axis=1) * tf.reduce_sum(intervals, axis=1)
    bound = tf.sqrt(bound * tf.cast(tf.maximum(sizes, 1), tf.float64))
    integers = _to_integers(intervals, bound, bits=31)
    size = tf.cast(sizes, tf.int64)[:, tf.newaxis]
    return size * sums(tf.square(integers)) - tf.square(sums(integers))


def _to_integers(intervals: tf.Tensor, largest: tf.Tensor, bits: int) -> tf.Tensor:
    """Returns intervals as integers, in a unit for which `largest` has so many bits.

    Sums of integers are exact, so that equal ones tie and that XLA, which rounds sums
    of float products differently, gives the same. The unit is a power of two: unless
    whole seconds need more than those bits, no digit of them is lost.

    Args:
        intervals: `[batch, length]`, float64, not negative.
        largest: `[batch]`, float64, not negative.
        bits: At most 63.

    Returns:
        `[batch, length]`, int64.
    """
    # 1 <= largest / 2**(exponent - 1023) < 2 in the format of float64, whose exponent
    # is read and written here without the rounding of a logarithm.
    exponent = tf.bitcast(tf.maximum(largest, 1e-200), tf.int64) // 2**52
    factor = tf.bitcast((2 * 1023 + bits - 1 - exponent) * 2**52, tf.float64)
    return tf.cast(intervals * factor[:, tf.newaxis], tf.int64)


def _one_position(candidates: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns one true position of each row, all equally likely.

    The candidates, `[batch, length]`, have one in each row, unless length is 0.
    """
    count = tf.reduce_sum(tf.cast(candidates, tf.int32), axis=1)
    number = random_choices(tf.maximum(count, 1), seed)
    # The position is where the running count first exceeds the number.
    so_far = tf.cumsum(tf.cast(candidates, tf.int32), axis=1)
    before = so_far <= number[:, tf.newaxis]
    return tf.reduce_sum(tf.cast(before, tf.int32), axis=1)
