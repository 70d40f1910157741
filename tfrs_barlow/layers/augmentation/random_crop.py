"""Keeps a contiguous stretch of each sequence."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow._checks import integer
from tfrs_barlow.layers.augmentation.base import RatedAugmentation
from tfrs_barlow.layers.augmentation.draws import (
    max_counts,
    random_counts,
    random_starts,
    split,
)
from tfrs_barlow.layers.augmentation.row_ops import in_xla
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class RandomCrop(RatedAugmentation):
    """Keeps the share `rate` of each sequence: one contiguous stretch, anywhere.

    Of n items, `rate * n` are kept, rounded up or down at random so that the mean is
    exact, and at least one. Every stretch of that length is equally likely, including
    those that end in the most recent item.

    Args:
        rate: The share of the items to keep, in [0, 1].
        keep_suffix: How many of the most recent items to keep in any case, within
            `rate`: for tasks in which the latest items count most. The stretch is then
            drawn from the items before them.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> crop = tfrsb.layers.RandomCrop(0.6, seed=3)
        >>> crop(tf.constant([[3, 4, 5, 6, 7, 0]]), training=True).numpy()
        array([[4, 5, 6, 0, 0, 0]], dtype=int32)

    References:
        Xie et al. (2022), "Contrastive Learning for Sequential Recommendation"
        (CL4SRec), https://arxiv.org/abs/2010.14395, section 3.2.1, with a rate of 0.6.
    """

    def __init__(
        self,
        rate: float,
        *,
        keep_suffix: int = 0,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, name=name, **kwargs)
        self.keep_suffix = integer("keep_suffix", keep_suffix, at_least=0)

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch."""
        count_seed, start_seed = split(seed, 2)
        counts = random_counts(self.rate, batch.lengths, count_seed)
        counts = tf.maximum(counts, tf.minimum(batch.lengths, 1))
        suffixes = tf.minimum(counts, self.keep_suffix)
        before = batch._replace(lengths=batch.lengths - suffixes)
        starts = self._starts(before, counts - suffixes, start_seed)
        longest = batch.width
        if not in_xla():
            # To fetch fewer positions and pad them is cheaper there.
            longest = tf.maximum(max_counts(self.rate, batch.width), 1)
            longest = tf.minimum(longest, batch.width)
        positions = tf.range(longest)[tf.newaxis]
        source = positions + starts[:, tf.newaxis]
        if self.keep_suffix:
            in_suffix = positions >= (counts - suffixes)[:, tf.newaxis]
            from_end = positions + (batch.lengths - counts)[:, tf.newaxis]
            source = tf.where(in_suffix, from_end, source)
        return batch.rearrange(source, counts).widened(batch.width)

    def _starts(
        self, batch: SequenceBatch, counts: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """Returns where the stretch of `counts` items starts, `[batch]`, int32."""
        return random_starts(counts, batch.lengths, seed)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "keep_suffix": self.keep_suffix}
