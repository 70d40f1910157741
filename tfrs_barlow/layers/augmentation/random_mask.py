"""Hides items at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_barlow.ids import MASK_ID
from tfrs_barlow.layers.augmentation.base import RatedAugmentation, serializable
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
        if not isinstance(mask_values, Mapping | None):
            raise TypeError(
                "mask_values must be a dict of values by column, but it is "
                f"{mask_values!r}."
            )
        if mask_values is not None:
            # In the form that they have after loading.
            mask_values = {
                column: serializable(value).tolist()
                for column, value in mask_values.items()
            }
        self.mask_values = mask_values

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch."""
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
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "mask_values": self.mask_values}


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class RandomMask(_Mask):
    """Replaces the share `rate` of each sequence's items by the mask token, anywhere.

    Of n items, `rate * n` are hidden, rounded up or down at random so that the mean
    is exact; one always stays visible, so a sequence of one item stays as it is.

    Args:
        rate: The share of the items to hide, in [0, 1].
        mask_values: By column, what replaces a hidden value. By default the item ids
            become `MASK_ID` and all other columns stay visible. To hide the category
            too: `{"item_id": 1, "category": 0}`.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> mask = tfrsb.layers.RandomMask(0.4, seed=5)
        >>> mask(tf.constant([[3, 4, 5, 6, 7, 0]]), training=True).numpy()
        array([[3, 1, 5, 1, 7, 0]], dtype=int32)

    References:
        Xie et al. (2022), "Contrastive Learning for Sequential Recommendation"
        (CL4SRec), https://arxiv.org/abs/2010.14395, section 3.2.2, with a rate of 0.3.
    """

    def _hidden(
        self, batch: SequenceBatch, counts: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        return random_positions(counts, batch.lengths, batch.width, seed)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class SegmentMask(_Mask):
    """Replaces the share `rate` of each sequence, one stretch, by mask tokens.

    The view then misses a whole period of the user, and only lasting properties can be
    inferred from the rest. Of n items, the stretch has `rate * n`, rounded up or down
    at random, and starts anywhere; one item always stays visible.

    Args:
        rate: The share of the items to hide, in [0, 1].
        mask_values: By column, what replaces a hidden value. By default the item ids
            become `MASK_ID` and all other columns stay visible.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> mask = tfrsb.layers.SegmentMask(0.4, seed=3)
        >>> mask(tf.constant([[3, 4, 5, 6, 7, 0]]), training=True).numpy()
        array([[3, 1, 1, 6, 7, 0]], dtype=int32)

    References:
        Zhou et al. (2020), "S3-Rec: Self-Supervised Learning for Sequential
        Recommendation with Mutual Information Maximization",
        https://arxiv.org/abs/2008.07873, section 4.2.4 (segment prediction).
    """

    def _hidden(
        self, batch: SequenceBatch, counts: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        return batch.stretch(random_starts(counts, batch.lengths, seed), counts)
