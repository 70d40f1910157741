"""Augmentations made of others: one after the other, or one of several."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow._checks import boolean, integer
from tfrs_barlow.layers.augmentation.base import SequenceAugmentation
from tfrs_barlow.layers.augmentation.draws import (
    fold_in,
    random_choices,
    random_orders,
    split,
)
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch, concatenate


class _Composite(SequenceAugmentation):
    """Holds augmentations, which get the packed batch, each with another seed."""

    def __init__(
        self,
        augmentations: Iterable[SequenceAugmentation],
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if not isinstance(augmentations, Iterable):
            raise TypeError(
                "augmentations must be several augmentation layers, but it is "
                f"{augmentations!r}."
            )
        self.augmentations = [
            checked_augmentation("each of augmentations", augmentation)
            for augmentation in augmentations
        ]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        serialize = tf.keras.layers.serialize
        return {
            **super().get_config(),
            "augmentations": [serialize(one) for one in self.augmentations],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> _Composite:
        """Makes a layer from what `get_config` returned."""
        deserialize = tf.keras.layers.deserialize
        augmentations = [deserialize(one) for one in config["augmentations"]]
        return cls(**{**config, "augmentations": augmentations})


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class Sequential(_Composite):
    """Applies augmentations one after the other.

    Args:
        augmentations: The augmentations, in order; without any, sequences stay as they
            are. The settings of this layer (`item_column`, `padding_side`,
            `always_active`, `seed`) hold for all of them; their own have no effect.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> crop_and_mask = tfrsb.layers.Sequential(
        ...     [tfrsb.layers.RandomCrop(0.6), tfrsb.layers.RandomMask(0.3)], seed=1
        ... )
        >>> crop_and_mask(tf.constant([[3, 4, 5, 6, 7]]), training=True).shape
        TensorShape([1, 5])
    """

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch."""
        for number, augmentation in enumerate(self.augmentations):
            batch = augmentation.augment(batch, fold_in(seed, number))
        return batch


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class RandomChoice(_Composite):
    """Applies to each sequence one of several augmentations.

    All are equally likely. Each augments an equal share of the batch, chosen at random,
    and is computed for that share alone.

    Args:
        augmentations: The augmentations to choose from, at least one. The settings of
            this layer hold for all of them; their own have no effect.
        replacement: Whether the two views that `TwoViews` makes of a sequence may be
            made by the same augmentation. If not, all pairs of different ones are
            equally likely, as in CL4SRec. This needs one choice that makes both views,
            alone or in a `Sequential`: it does not work in another choice, or if
            `TwoViews` has a `second`.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Raises:
        TypeError: If one of them is not a `SequenceAugmentation`.
        ValueError: If there is nothing to choose from, or only one augmentation without
            `replacement`.

    Examples:
        >>> choice = tfrsb.layers.RandomChoice(
        ...     [tfrsb.layers.RandomCrop(0.6), tfrsb.layers.RandomReorder(0.6)], seed=1
        ... )
        >>> choice(tf.constant([[3, 4, 5, 6, 7]]), training=True).shape
        TensorShape([1, 5])
    """

    def __init__(
        self,
        augmentations: Iterable[SequenceAugmentation],
        *,
        replacement: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(augmentations, name=name, **kwargs)
        self.replacement = boolean("replacement", replacement)
        needed = 1 if replacement else 2
        if len(self.augmentations) < needed:
            raise ValueError(
                f"augmentations must hold at least {needed} to choose from, but it "
                f"holds {len(self.augmentations)}."
            )

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch."""
        choices = len(self.augmentations)
        views = 1 if self.replacement else batch.views
        combinations = list(itertools.permutations(range(choices), views))
        size = tf.size(batch.lengths) // views
        assignment_seed, *seeds = split(seed, 1 + choices)
        assignment = _Assignment(combinations, size, assignment_seed)
        outcomes = [
            augmentation.augment(batch.rows(assignment.rows_of(choice)), seeds[choice])
            for choice, augmentation in enumerate(self.augmentations)
        ]
        joined = concatenate(outcomes).rows(assignment.places())
        return joined._replace(views=batch.views)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "replacement": self.replacement}


class _Assignment:
    """Assigns sequences to combinations of augmentations at random, in equal shares.

    A combination says which augmentation makes each view of a sequence: `(1, 0)` says
    that augmentation 1 makes the first view and 0 the second. So that shapes are known,
    each combination gets the same number of entries, enough for all sequences. They are
    filled in random order, from a random entry on; entries that are left over repeat
    the first sequence.

    For example, let the sequences 0 and 1 have two views: the rows 0 and 1 hold their
    first views, the rows 2 and 3 their second ones. Of the combinations `(0, 1)` and
    `(1, 0)` the first gets sequence 1, the second gets sequence 0. Then augmentation 0
    makes the first view of sequence 1 and the second view of sequence 0, so that
    `rows_of(0)` is `[1, 2]`; likewise `rows_of(1)` is `[3, 0]`. What they return is
    joined in the order 1, 2, 3, 0. There row 0 comes last, so `places()` is
    `[3, 0, 1, 2]`.

    Args:
        combinations: For each, the augmentation by view.
        size: Scalar, int32, the number of sequences.
        seed: `[2]`.
    """

    def __init__(
        self, combinations: Sequence[tuple[int, ...]], size: tf.Tensor, seed: tf.Tensor
    ) -> None:
        self._combinations = combinations
        self._size = size
        self._entries_each = -(-size // len(combinations))
        entries = len(combinations) * self._entries_each
        order_seed, start_seed = split(seed, 2)
        order = random_orders(size[tf.newaxis], size, order_seed)[0]
        start = random_choices(tf.maximum(entries, 1)[tf.newaxis], start_seed)
        self._entry = (order + start) % tf.maximum(entries, 1)
        sequence = tf.scatter_nd(self._entry[:, tf.newaxis], tf.range(size), [entries])
        self._sequences = tf.reshape(sequence, [len(combinations), self._entries_each])

    def _uses(self, choice: int) -> list[tuple[int, int]]:
        """Returns in which combinations, and for which view, an augmentation is."""
        return [
            (number, combination.index(choice))
            for number, combination in enumerate(self._combinations)
            if choice in combination
        ]

    def rows_of(self, choice: int) -> tf.Tensor:
        """Returns the rows that an augmentation gets."""
        rows = [
            self._sequences[number] + view * self._size
            for number, view in self._uses(choice)
        ]
        return tf.concat(rows, axis=0)

    def places(self) -> tf.Tensor:
        """Returns the place of each row in `rows_of` all choices, one after another."""
        choices = 1 + max(itertools.chain(*self._combinations))
        uses = [use for choice in range(choices) for use in self._uses(choice)]
        number = self._entry // self._entries_each
        entry = self._entry % self._entries_each
        views = []
        for view in range(len(self._combinations[0])):
            block = [uses.index((n, view)) for n in range(len(self._combinations))]
            views.append(tf.gather(block, number) * self._entries_each + entry)
        return tf.concat(views, axis=0)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class ByLength(_Composite):
    """Applies one augmentation to short sequences and another to long ones.

    An augmentation that removes or shuffles items leaves too little of a short
    sequence; CoSeRec only substitutes, inserts or masks there.

    Args:
        threshold: How many items a short sequence has at most.
        short: The augmentation of short sequences. The settings of this layer hold for
            it; its own have no effect.
        long: The augmentation of the others.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> by_length = tfrsb.layers.ByLength(
        ...     3, short=tfrsb.layers.RandomMask(0.5), long=tfrsb.layers.RandomCrop(0.5)
        ... )
        >>> by_length(tf.constant([[3, 4, 0, 0], [5, 6, 7, 8]]), training=True).shape
        TensorShape([2, 4])

    References:
        Liu et al. (2021), "Contrastive Self-supervised Sequential Recommendation with
        Robust Augmentation" (CoSeRec), https://arxiv.org/abs/2108.06479, section 3.3;
        it uses a threshold of 4 or, for some data, 12.
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
        both = checked_augmentation("short", short), checked_augmentation("long", long)
        super().__init__(both, name=name, **kwargs)
        self.threshold = integer("threshold", threshold, at_least=0)

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch."""
        short, long = (
            augmentation.augment(batch, fold_in(seed, number))
            for number, augmentation in enumerate(self.augmentations)
        )
        return short.where_rows(batch.lengths <= self.threshold, long)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        short, long = config.pop("augmentations")
        return {**config, "threshold": self.threshold, "short": short, "long": long}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ByLength:
        """Makes a layer from what `get_config` returned."""
        deserialize = tf.keras.layers.deserialize
        both = {name: deserialize(config[name]) for name in ("short", "long")}
        return cls(**{**config, **both})


def checked_augmentation(name: str, value: Any) -> SequenceAugmentation:
    """Returns an argument that must be an augmentation."""
    if not isinstance(value, SequenceAugmentation):
        raise TypeError(
            f"{name} must be an augmentation layer such as "
            f"tfrs_barlow.layers.RandomCrop, but it is {value!r}."
        )
    return value
