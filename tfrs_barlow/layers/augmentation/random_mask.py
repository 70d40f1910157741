"""Hides items at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_barlow.ids import MASK_ID
from tfrs_barlow.layers.augmentation.base import RatedAugmentation, plain
from tfrs_barlow.layers.augmentation.draws import (
    random_counts,
    random_positions,
    random_starts,
    split,
)
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch


class _Mask(RatedAugmentation):
    """Hides a share of each sequence; a subclass chooses the positions."""

    def __init__(
        self,
        rate: float,
        *,
        mask_values: Mapping[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, name=name, **kwargs)
        if mask_values is not None:
            # As they are after loading.
            mask_values = {
                column: plain(value).tolist() for column, value in mask_values.items()
            }
        self.mask_values = mask_values

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        count_seed, position_seed = split(seed, 2)
        counts = random_counts(self.rate, batch.lengths, count_seed)
        # A sequence of nothing but mask tokens would say nothing about its user.
        counts = tf.minimum(counts, tf.maximum(batch.lengths - 1, 0))
        values = self.mask_values
        if values is None:
            values = {batch.item_column: MASK_ID}
        return batch.hide(self._hidden(batch, counts, position_seed), values)

    def _hidden(
        self, batch: SequenceBatch, counts: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """Returns which positions to hide, `counts` in each row."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs to make the same layer."""
        return {**super().get_config(), "mask_values": self.mask_values}


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class RandomMask(_Mask):
    """Replaces a share of each sequence's items, anywhere in it, by the mask token.

    Of n items, `rate * n` are hidden, rounded up or down at random so that the mean
    is exact; one always stays visible, so a sequence of one item stays as it is.

    Example:
        >>> mask = tfrsb.layers.RandomMask(0.4, seed=5)
        >>> mask(tf.constant([[3, 4, 5, 6, 7, 0]]), training=True).numpy()
        array([[3, 1, 5, 1, 7, 0]], dtype=int32)

    References:
        Xie et al. 2022, Contrastive Learning for Sequential Recommendation (CL4SRec),
        arXiv 2010.14395, section 3.2.2; rate 0.3 there.

    Args:
        rate: The share of the items to hide, in [0, 1].
        mask_values: By column, what stands for a hidden value. Default: the item ids
            become `MASK_ID` and all other columns stay visible. To hide the category
            too: `{"item_id": 1, "category": 0}`.
        name: The name of the layer.
        **kwargs: As of `SequenceAugmentation`.
    """

    def _hidden(
        self, batch: SequenceBatch, counts: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        return random_positions(counts, batch.lengths, batch.width, seed)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class SegmentMask(_Mask):
    """Replaces one contiguous stretch of each sequence by mask tokens.

    The view then misses a whole period of the user, and only what lasts can be told
    from the rest. The stretch is `rate * n` of n items long, rounded up or down at
    random, and starts anywhere; one item always stays visible.

    Example:
        >>> mask = tfrsb.layers.SegmentMask(0.4, seed=3)
        >>> mask(tf.constant([[3, 4, 5, 6, 7, 0]]), training=True).numpy()
        array([[3, 1, 1, 6, 7, 0]], dtype=int32)

    References:
        Zhou et al. 2020, S3-Rec: Self-Supervised Learning for Sequential
        Recommendation, arXiv 2008.07873, section 4.2.4 (segment prediction).

    Args:
        rate: The share of the items to hide, in [0, 1].
        mask_values: By column, what stands for a hidden value: see `RandomMask`.
        name: The name of the layer.
        **kwargs: As of `SequenceAugmentation`.
    """

    def _hidden(
        self, batch: SequenceBatch, counts: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        starts = random_starts(counts, batch.lengths, seed)
        return batch.stretch(starts, counts)
