"""Two augmented views of each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow.layers.augmentation.base import (
    RandomSequenceLayer,
    SequenceAugmentation,
)
from tfrs_barlow.layers.augmentation.composition import Sequential
from tfrs_barlow.layers.augmentation.draws import split
from tfrs_barlow.layers.augmentation.sequence_batch import (
    SequenceBatch,
    concatenate,
    require_alike,
)

Augmentations = SequenceAugmentation | Sequence[SequenceAugmentation]


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TwoViews(RandomSequenceLayer):
    """Makes two independently augmented views of each sequence.

    In training only: otherwise both views are the inputs themselves.

    Twins from which nothing can be learned, views that came out the same, are counted:
    their share is the layer's metric `identical_views`, which `fit` shows after the
    layer's name. (Not where `seed` is passed to the call, which then has no effect but
    its result.)

    Example:
        >>> views = tfrsb.layers.TwoViews(
        ...     [tfrsb.layers.RandomCrop(0.6), tfrsb.layers.RandomMask(0.3)], seed=2
        ... )
        >>> first, second = views(tf.constant([[3, 4, 5, 6, 7, 0]]), training=True)
        >>> first.numpy(), second.numpy()
        (array([[5, 6, 1, 0, 0, 0]], dtype=int32),
         array([[1, 6, 7, 0, 0, 0]], dtype=int32))
    """

    def __init__(
        self,
        augmentations: Augmentations,
        second: Augmentations | None = None,
        *,
        jit_compile: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Initializes the layer.

        Args:
            augmentations: One augmentation, or several that are applied in order.
            second: The same for the second view, if it shall differ from the first.
            jit_compile: Whether to compile the making of the views by XLA, as in
                `tf.function`. The views are the same, in a half or a third of the time;
                every new shape of batches is compiled first, for seconds. Ragged
                inputs and strings, which XLA does not know, are not compiled.
            name: The name of the layer.
            **kwargs: As of `SequenceAugmentation`; the settings hold for all of the
                augmentations.

        Raises:
            TypeError: If an augmentation is not a `SequenceAugmentation`.
        """
        super().__init__(name=name, **kwargs)
        self.first = _in_order(augmentations)
        self.second = self.first if second is None else _in_order(second)
        self.jit_compile = jit_compile
        self._compiled_views = tf.function(self._views, jit_compile=True)
        self.identical_views = tf.keras.metrics.Mean(
            name=f"{self.name}/identical_views"
        )

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        partners: Any = None,
    ) -> tuple[Any, Any]:
        """Returns two views of the sequences.

        Args:
            inputs: Item ids or a dict of columns, dense or ragged: see
                `SequenceAugmentation`.
            training: Whether to augment.
            seed: `[2]` integers that fix the draws of this call; `None` draws anew.
            partners: For each sequence another that says the same, in the same form:
                the second views are then made of these. `tfrsb.data.pair_batches` draws
                such partners.

        Returns:
            The first and the second view, each in the form of `inputs`.

        Raises:
            ValueError: If a column is not at least `[batch, length]`, the one of item
                ids is missing, `seed` is not two integers, or `partners` have other
                columns or another number of rows.
            TypeError: If the item ids are not integers of shape `[batch, length]`.
        """
        if not (training or self.always_active):
            # What is wrong with the inputs shall not show in training alone.
            self.pack(inputs)
            return inputs, inputs if partners is None else partners
        compiled = self.jit_compile and _is_known_to_xla((inputs, partners))
        make = self._compiled_views if compiled else self._views
        views, twins, count = make(inputs, partners, self.resolve_seed(seed))
        # Where a model is built in the scope of a strategy, metrics cannot count.
        if seed is None and not tf.distribute.in_cross_replica_context():
            # As a share and its weight: Keras checks more in many operations.
            share = tf.math.divide_no_nan(twins, count)
            self.identical_views.update_state(share, count)
        return views

    def _views(
        self, inputs: Any, partners: Any, seed: tf.Tensor
    ) -> tuple[tuple[Any, Any], tf.Tensor, tf.Tensor]:
        """Returns the views, how many of them are twins, and of how many pairs."""
        batch, unpack = self.pack(inputs)
        partner_batch, unpack_partners = batch, unpack
        if partners is not None:
            partner_batch, unpack_partners = self.pack(partners)
            require_alike(batch, partner_batch)
        first, second = self._augmented(batch, partner_batch, seed)
        views = unpack(first), unpack_partners(second)
        return views, *_count_twins(first, second)

    def _augmented(
        self, batch: SequenceBatch, partners: SequenceBatch, seed: tf.Tensor
    ) -> tuple[SequenceBatch, SequenceBatch]:
        if self.second is self.first:
            # As one batch twice as long, which takes half as many operations.
            both = concatenate([batch, partners])._replace(views=2)
            return self.first.augment(both, seed).halves()
        first_seed, second_seed = split(seed, 2)
        return (
            self.first.augment(batch, first_seed),
            self.second.augment(partners, second_seed),
        )

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs to make the same layer."""
        second = None if self.second is self.first else self.second
        serialize = tf.keras.layers.serialize
        return {
            **super().get_config(),
            "augmentations": serialize(self.first),
            "second": None if second is None else serialize(second),
            "jit_compile": self.jit_compile,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TwoViews:
        """Makes a layer from what `get_config` returned."""
        config = dict(config)
        for view in ("augmentations", "second"):
            if config[view] is not None:
                config[view] = tf.keras.layers.deserialize(config[view])
        return cls(**config)


def _count_twins(
    first: SequenceBatch, second: SequenceBatch
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns how many sequences that are not empty have equal views, and all such."""
    not_empty = (first.lengths > 0) | (second.lengths > 0)
    twins = not_empty & first.equals(second)
    return (
        tf.reduce_sum(tf.cast(twins, tf.float32)),
        tf.reduce_sum(tf.cast(not_empty, tf.float32)),
    )


def _is_known_to_xla(inputs: Any) -> bool:
    return not any(
        isinstance(column, tf.RaggedTensor)
        or getattr(column, "dtype", None) == tf.string
        for column in tf.nest.flatten(inputs)
    )


def _in_order(augmentations: Augmentations) -> SequenceAugmentation:
    """Returns several augmentations as one."""
    if isinstance(augmentations, Sequence):
        return Sequential(augmentations)
    return Sequential([augmentations]).augmentations[0]
