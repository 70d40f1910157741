"""Augmentations made of others: one after the other, or one of several."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow.layers.augmentation.base import SequenceAugmentation
from tfrs_barlow.layers.augmentation.draws import (
    fold_in,
    random_choices,
    random_orders,
    split,
)
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch, concatenate


class _Composite(SequenceAugmentation):
    """Holds augmentations; they act on the packed batch, with seeds of their own."""

    def __init__(
        self,
        augmentations: Sequence[SequenceAugmentation],
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.augmentations = _validated(augmentations)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs to make the same layer."""
        return {
            **super().get_config(),
            "augmentations": [
                tf.keras.layers.serialize(augmentation)
                for augmentation in self.augmentations
            ],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> _Composite:
        """Makes a layer from what `get_config` returned."""
        augmentations = [
            tf.keras.layers.deserialize(augmentation)
            for augmentation in config["augmentations"]
        ]
        return cls(**{**config, "augmentations": augmentations})


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class Sequential(_Composite):
    """Applies augmentations one after the other.

    Example:
        >>> crop_and_mask = tfrsb.layers.Sequential(
        ...     [tfrsb.layers.RandomCrop(0.6), tfrsb.layers.RandomMask(0.3)], seed=1
        ... )
        >>> crop_and_mask(tf.constant([[3, 4, 5, 6, 7]]), training=True).shape
        TensorShape([1, 5])

    Args:
        augmentations: The augmentations, in order; none at all leaves sequences as
            they are. The settings of this layer (`item_column`, `padding_side`,
            `always_active`, `seed`) hold for all of them; what they were given
            themselves has no effect here.
        name: The name of the layer.
        **kwargs: As of `SequenceAugmentation`.
    """

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """See `SequenceAugmentation.augment`."""
        for number, augmentation in enumerate(self.augmentations):
            batch = augmentation.augment(batch, fold_in(seed, number))
        return batch


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class RandomChoice(_Composite):
    """Applies to each sequence one of several augmentations.

    All are equally likely, and the sequences of a batch are dealt out to them in equal
    shares: each is computed for its share alone.

    Example:
        >>> choice = tfrsb.layers.RandomChoice(
        ...     [tfrsb.layers.RandomCrop(0.6), tfrsb.layers.RandomReorder(0.6)], seed=1
        ... )
        >>> choice(tf.constant([[3, 4, 5, 6, 7]]), training=True).shape
        TensorShape([1, 5])
    """

    def __init__(
        self,
        augmentations: Sequence[SequenceAugmentation],
        *,
        replacement: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the layer.

        Args:
            augmentations: The augmentations to choose from, at least one. The settings
                of this layer hold for all of them, and their own have no effect here.
            replacement: Whether the two views that `TwoViews` makes of a sequence may
                be made by the same augmentation. If not, all pairs of different ones
                are equally likely, as in CL4SRec: where this layer makes both views,
                by itself or in a `Sequential`, not in another choice, and not if
                `TwoViews` was given a `second`.
            name: The name of the layer.
            **kwargs: As of `SequenceAugmentation`.

        Raises:
            ValueError: If there is no augmentation to choose from, or only one without
                `replacement`.
        """
        super().__init__(augmentations, name=name, **kwargs)
        needed = 1 if replacement else 2
        if len(self.augmentations) < needed:
            raise ValueError(
                f"augmentations must hold at least {needed} to choose from, but it "
                f"holds {len(self.augmentations)}."
            )
        self.replacement = replacement

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """See `SequenceAugmentation.augment`."""
        choices = len(self.augmentations)
        views = 1 if self.replacement else batch.views
        hands = list(itertools.permutations(range(choices), views))
        deal_seed, *seeds = split(seed, 1 + choices)
        deal = _Deal(hands, tf.size(batch.lengths) // len(hands[0]), deal_seed)
        outcomes = [
            augmentation.augment(batch.rows(deal.rows_of(choice)), seeds[choice])
            for choice, augmentation in enumerate(self.augmentations)
        ]
        joined = concatenate(outcomes).rows(deal.places())
        return joined._replace(views=batch.views)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs to make the same layer."""
        return {**super().get_config(), "replacement": self.replacement}


class _Deal:
    """Deals sequences out at random, in equal shares.

    A hand says which augmentation makes each view of a sequence. Every hand has as many
    slots, so that shapes are known, and enough in all; the sequences are put into them
    in random order, from a random one on. Slots left over repeat the first sequence.
    """

    def __init__(
        self, hands: Sequence[tuple[int, ...]], size: tf.Tensor, seed: tf.Tensor
    ) -> None:
        """Deals.

        Args:
            hands: The hands, by view which augmentation.
            size: Scalar, int32, the number of sequences.
            seed: `[2]`.
        """
        self._hands = hands
        self._size = size
        self._slots_each = -(-size // len(hands))
        slots = len(hands) * self._slots_each
        order_seed, start_seed = split(seed, 2)
        order = random_orders(size[tf.newaxis], size, order_seed)[0]
        start = random_choices(tf.maximum(slots, 1)[tf.newaxis], start_seed)
        self._slot = (order + start) % tf.maximum(slots, 1)
        sequence = tf.scatter_nd(self._slot[:, tf.newaxis], tf.range(size), [slots])
        self._sequences = tf.reshape(sequence, [len(hands), self._slots_each])

    def _cards(self, choice: int) -> list[tuple[int, int]]:
        """Returns in which hands, and there for which views, a choice is."""
        return [
            (number, view)
            for number, hand in enumerate(self._hands)
            for view, choice_there in enumerate(hand)
            if choice_there == choice
        ]

    def rows_of(self, choice: int) -> tf.Tensor:
        """Returns the rows that fall to an augmentation."""
        return tf.concat(
            [
                self._sequences[number] + view * self._size
                for number, view in self._cards(choice)
            ],
            axis=0,
        )

    def places(self) -> tf.Tensor:
        """Returns, by row, where it is among the rows of all choices in order."""
        choices = 1 + max(itertools.chain(*self._hands))
        cards = [card for choice in range(choices) for card in self._cards(choice)]
        hand, slot = self._slot // self._slots_each, self._slot % self._slots_each
        views = []
        for view in range(len(self._hands[0])):
            block = [cards.index((hand, view)) for hand in range(len(self._hands))]
            views.append(tf.gather(block, hand) * self._slots_each + slot)
        return tf.concat(views, axis=0)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class ByLength(_Composite):
    """Applies one augmentation to short sequences and another to long ones.

    What removes or shuffles items leaves too little of a short sequence; CoSeRec does
    no more than substitute, insert or mask there.

    Example:
        >>> by_length = tfrsb.layers.ByLength(
        ...     3, short=tfrsb.layers.RandomMask(0.5), long=tfrsb.layers.RandomCrop(0.5)
        ... )
        >>> by_length(tf.constant([[3, 4, 0, 0], [5, 6, 7, 8]]), training=True).shape
        TensorShape([2, 4])

    References:
        Liu et al. 2021, Contrastive Self-supervised Sequential Recommendation with
        Robust Augmentation (CoSeRec), arXiv 2108.06479, section 3.3; there a threshold
        of 4 or, for some data, 12.
    """

    def __init__(
        self,
        threshold: int,
        short: SequenceAugmentation,
        long: SequenceAugmentation,
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the layer.

        Args:
            threshold: How many items a short sequence has at most.
            short: The augmentation of short sequences.
            long: The augmentation of the others.
            name: The name of the layer.
            **kwargs: As of `SequenceAugmentation`; the settings hold for both, and
                their own have no effect here.

        Raises:
            ValueError: If `threshold` is negative.
        """
        super().__init__([short, long], name=name, **kwargs)
        if threshold < 0:
            raise ValueError(f"threshold must be at least 0, but it is {threshold}.")
        self.threshold = threshold

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """See `SequenceAugmentation.augment`."""
        short, long = (
            augmentation.augment(batch, fold_in(seed, number))
            for number, augmentation in enumerate(self.augmentations)
        )
        return short.where_rows(batch.lengths <= self.threshold, long)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs to make the same layer."""
        config = super().get_config()
        short, long = config.pop("augmentations")
        return {**config, "threshold": self.threshold, "short": short, "long": long}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ByLength:
        """Makes a layer from what `get_config` returned."""
        return cls(
            **{
                **config,
                "short": tf.keras.layers.deserialize(config["short"]),
                "long": tf.keras.layers.deserialize(config["long"]),
            }
        )


def _validated(augmentations: Sequence[SequenceAugmentation]) -> list[Any]:
    augmentations = list(augmentations)
    for augmentation in augmentations:
        if not isinstance(augmentation, SequenceAugmentation):
            raise TypeError(
                "augmentations must be augmentation layers such as "
                f"tfrs_barlow.layers.RandomCrop, but one is {augmentation!r}."
            )
    return augmentations
