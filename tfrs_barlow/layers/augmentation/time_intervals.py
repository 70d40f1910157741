"""What augmentations that look at the times between items have in common."""

from __future__ import annotations

from typing import Any, Literal, get_args

import tensorflow as tf

from tfrs_barlow.layers.augmentation.base import RatedAugmentation
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch

Preference = Literal["minimum", "maximum"]


class TimeIntervalAugmentation(RatedAugmentation):
    """Base of the augmentations that prefer small or large times between items.

    The interval of an item is the time until the next one; it counts as positive where
    times are not sorted. Times are a column of integers or floats, in any unit, without
    infinities and NaN. Unix seconds need 64 bits: float32 rounds them to two minutes.
    """

    preferences: tuple[str, ...] = get_args(Preference)

    def __init__(
        self,
        rate: float,
        *,
        prefer: str,
        time_column: str = "timestamp",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the layer.

        Args:
            rate: The share of a sequence's items, in [0, 1].
            prefer: Which intervals to prefer, one of `preferences`.
            time_column: The column that holds the times, `[batch, length]`.
            name: The name of the layer.
            **kwargs: As of `SequenceAugmentation`, or of the class that is extended.

        Raises:
            ValueError: If `rate` is outside [0, 1] or `prefer` is unknown.
        """
        super().__init__(rate, name=name, **kwargs)
        if prefer not in self.preferences:
            raise ValueError(
                f"prefer must be one of {self.preferences}, but it is {prefer!r}."
            )
        self.prefer = prefer
        self.time_column = time_column

    def times(self, batch: SequenceBatch) -> tf.Tensor:
        """Returns the times of the items, `[batch, length]`, int64 or float64.

        Raises:
            ValueError: If the column is not there.
            TypeError: If it does not hold one number per position.
        """
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

    def intervals(self, batch: SequenceBatch) -> tf.Tensor:
        """Returns the interval of each item but the last, `[batch, length]`, float64.

        It is 0 from the last item on.

        Raises:
            ValueError: If the column of times is not there.
            TypeError: If it does not hold one number per position.
        """
        # Subtracted before they become floats, so that no digit of an integer is lost.
        steps = to_next(self.times(batch))
        has_next = batch.positions < batch.lengths[:, tf.newaxis] - 1
        return tf.where(has_next, tf.abs(tf.cast(steps, tf.float64)), 0)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs to make the same layer."""
        return {
            **super().get_config(),
            "prefer": self.prefer,
            "time_column": self.time_column,
        }


def to_next(times: tf.Tensor) -> tf.Tensor:
    """Returns by how much each time is before the next; 0 for the last of a row."""
    steps = times[:, 1:] - times[:, :-1]
    return tf.concat([steps, tf.zeros_like(times[:, :1])], axis=1)


def whole_numbers(intervals: tf.Tensor, largest: tf.Tensor, bits: int) -> tf.Tensor:
    """Returns intervals as integers, in a unit for which `largest` has so many bits.

    What is computed of integers is exact, so that equal ones tie and that XLA, which
    rounds sums of float products otherwise, gives the same. The unit is a power of two:
    unless whole seconds need more than those bits, no digit of them is lost.

    Args:
        intervals: `[batch, length]`, float64, not negative.
        largest: `[batch]`, float64, not negative.
        bits: At most 63.

    Returns:
        `[batch, length]`, int64.
    """
    # As 1 <= largest / 2**(exponent - 1023) < 2 by the format of float64, whose
    # exponent is read and written here without the rounding of a logarithm.
    exponent = tf.bitcast(tf.maximum(largest, 1e-200), tf.int64) // 2**52
    factor = tf.bitcast((2 * 1023 + bits - 1 - exponent) * 2**52, tf.float64)
    return tf.cast(intervals * factor[:, tf.newaxis], tf.int64)
