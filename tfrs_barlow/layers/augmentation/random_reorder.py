"""Shuffles a stretch of each sequence."""

from __future__ import annotations

import tensorflow as tf

from tfrs_barlow.layers.augmentation.base import RatedAugmentation
from tfrs_barlow.layers.augmentation.draws import (
    max_counts,
    random_counts,
    random_orders,
    random_starts,
    split,
)
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class RandomReorder(RatedAugmentation):
    """Shuffles the share `rate` of each sequence: one contiguous stretch, anywhere.

    Of n items, `rate * n` are shuffled, rounded up or down at random so that the mean
    is exact, and at least two, since fewer cannot change places (unless `rate` is 0).
    All permutations are equally likely.

    Times move along with their items, so that a column of times is no longer sorted.

    Args:
        rate: The share of the items to shuffle, in [0, 1].
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> reorder = tfrsb.layers.RandomReorder(0.6, seed=4)
        >>> reorder(tf.constant([[3, 4, 5, 6, 7, 0]]), training=True).numpy()
        array([[3, 4, 6, 5, 7, 0]], dtype=int32)

    References:
        Xie et al. (2022), "Contrastive Learning for Sequential Recommendation"
        (CL4SRec), https://arxiv.org/abs/2010.14395, section 3.2.3, with a rate of 0.6.
    """

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch."""
        count_seed, start_seed, order_seed = split(seed, 3)
        counts = random_counts(self.rate, batch.lengths, count_seed)
        if self.rate > 0:
            counts = tf.maximum(counts, tf.minimum(batch.lengths, 2))
        starts = self._starts(batch, counts, start_seed)
        longest = tf.maximum(max_counts(self.rate, batch.width), 2)
        longest = tf.minimum(longest, batch.width)
        order = random_orders(counts, longest, order_seed)
        return batch.rearrange(batch.reordered(starts, order, counts), batch.lengths)

    def _starts(
        self, batch: SequenceBatch, counts: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """Returns where the stretch of `counts` items starts, `[batch]`, int32."""
        return random_starts(counts, batch.lengths, seed)
