"""Swaps items for those of other users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow._checks import text
from tfrs_barlow.layers.augmentation.base import RatedAugmentation
from tfrs_barlow.layers.augmentation.draws import (
    random_counts,
    random_integers,
    random_positions,
    split,
)
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class SwapNoise(RatedAugmentation):
    """Replaces the share `rate` of each sequence's items by items from the batch.

    The new items come from anywhere in the batch, so popular ones come in as often as
    they occur. An item is taken with its columns, and so brings its category along. Of
    n items, `rate * n` are replaced, rounded up or down at random so that the mean is
    exact.

    Args:
        rate: The share of the items to replace, in [0, 1].
        fixed_columns: Columns that stay as they are, such as times, which would no
            longer be sorted.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> noise = tfrsb.layers.SwapNoise(0.4, seed=1)
        >>> noise(tf.constant([[3, 4, 5], [6, 7, 0]]), training=True).shape
        TensorShape([2, 3])

    References:
        Stochastic swap noise of de Souza Pereira Moreira et al. (2021),
        "Transformers4Rec: Bridging the Gap between NLP and Sequential / Session-Based
        Recommendation", https://doi.org/10.1145/3460231.3474255, with a rate of 0.1;
        there each column is swapped separately.
    """

    def __init__(
        self,
        rate: float,
        *,
        fixed_columns: Sequence[str] = (),
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, name=name, **kwargs)
        if isinstance(fixed_columns, str) or not isinstance(fixed_columns, Iterable):
            raise TypeError(
                "fixed_columns must be a sequence of names, but it is "
                f"{fixed_columns!r}."
            )
        self.fixed_columns = [
            text("each of fixed_columns", column) for column in fixed_columns
        ]

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch."""
        count_seed, position_seed, item_seed = split(seed, 3)
        counts = random_counts(self.rate, batch.lengths, count_seed)
        batch_size, length = tf.size(batch.lengths), batch.width
        swapped = random_positions(counts, batch.lengths, length, position_seed)

        # Items are numbered through the batch, padding left out.
        ends = tf.cumsum(batch.lengths)
        total = tf.maximum(tf.reduce_sum(batch.lengths), 1)
        number = random_integers(batch_size, length, item_seed) % total
        row = tf.searchsorted(ends, tf.reshape(number, [-1]), side="right")
        row = tf.minimum(row, tf.maximum(batch_size - 1, 0))
        starts = tf.gather(ends - batch.lengths, row)
        position = tf.reshape(number, [-1]) - starts
        return batch.swap(
            swapped,
            tf.reshape(row, tf.shape(number)),
            tf.reshape(position, tf.shape(number)),
            self.fixed_columns,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "fixed_columns": self.fixed_columns}
