"""Removes items at random."""

from __future__ import annotations

import tensorflow as tf

from tfrs_barlow.layers.augmentation.base import RatedAugmentation
from tfrs_barlow.layers.augmentation.draws import random_counts, random_positions, split
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class RandomDrop(RatedAugmentation):
    """Removes the share `rate` of each sequence's items, anywhere in it.

    Unlike `RandomMask` it leaves no gap: items that were apart become adjacent. Of n
    items, `rate * n` are removed, rounded up or down at random so that the mean is
    exact; one always stays.

    Args:
        rate: The share of the items to remove, in [0, 1].
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> drop = tfrsb.layers.RandomDrop(0.4, seed=5)
        >>> drop(tf.constant([[3, 4, 5, 6, 7, 0]]), training=True).numpy()
        array([[3, 5, 7, 0, 0, 0]], dtype=int32)

    References:
        Known as item dropout or deletion; for text: Wei and Zou (2019), "EDA: Easy Data
        Augmentation Techniques for Boosting Performance on Text Classification Tasks",
        https://arxiv.org/abs/1901.11196.
    """

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch."""
        count_seed, position_seed = split(seed, 2)
        counts = random_counts(self.rate, batch.lengths, count_seed)
        counts = tf.minimum(counts, tf.maximum(batch.lengths - 1, 0))
        dropped = random_positions(counts, batch.lengths, batch.width, position_seed)
        return batch.keep(batch.is_item & ~dropped)
