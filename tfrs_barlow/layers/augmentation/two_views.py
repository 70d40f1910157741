"""Two augmented views of each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow._checks import boolean
from tfrs_barlow.layers.augmentation.base import (
    SequenceAugmentation,
    _RandomSequenceLayer,
)
from tfrs_barlow.layers.augmentation.composition import Sequential, checked_augmentation
from tfrs_barlow.layers.augmentation.draws import split
from tfrs_barlow.layers.augmentation.packing import PaddingSide, require_alike
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch, concatenate

Augmentations = SequenceAugmentation | Sequence[SequenceAugmentation]


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TwoViews(_RandomSequenceLayer):
    """Makes two independently augmented views of each sequence, in training only.

    Otherwise both views are the inputs themselves.

    If both views of a sequence come out identical, nothing can be learned from them.
    The share of such pairs is the metric `identical_views`, which `fit` shows after the
    name of the layer. Calls with an explicit `seed` change no state and are not
    counted.

    Args:
        augmentations: One augmentation, or several that are applied in order. The
            settings of this layer hold for all of them; their own have no effect.
        second: The same for the second view, if it is to be made differently.
        jit_compile: Whether to compile the making of the views by XLA, as in
            `tf.function`. The views are the same, in a half or a third of the time;
            compilation takes seconds for every new shape of batches. Ragged inputs and
            strings, which XLA does not support, are not compiled.
        item_column: The column that holds the item ids, if inputs are a dict.
        padding_side: Where to pad dense output: `"left"`, `"right"`, or `"auto"`: left
            if any row of the batch is padded on the left, else right.
        always_active: Whether to augment even if `training` is false.
        seed: An integer that fixes the draws of all calls; `None` takes a random one.
        name: The name of the layer.
        **kwargs: Passed on to `tf.keras.layers.Layer`.

    Attributes:
        identical_views: The metric, a `tf.keras.metrics.Mean`.

    Raises:
        TypeError: If an augmentation is not a `SequenceAugmentation`.

    Examples:
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
        item_column: str = "item_id",
        padding_side: PaddingSide = "auto",
        always_active: bool = False,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            item_column=item_column,
            padding_side=padding_side,
            always_active=always_active,
            seed=seed,
            name=name,
            **kwargs,
        )
        self._augmentation = _in_order("augmentations", augmentations)
        self._second = None if second is None else _in_order("second", second)
        if self._second is self._augmentation:
            self._second = None
        self.jit_compile = boolean("jit_compile", jit_compile)
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
            inputs: Item ids or a dict of columns, dense or ragged, as
                `SequenceAugmentation` takes them.
            training: Whether to augment.
            seed: `[2]` integers that fix the draws of this call; `None` for new draws.
            partners: For each sequence a different one, in the same form, from which
                to make the second view. `tfrsb.data.pair_batches` draws such partners.

        Returns:
            The first and the second view, each in the form of `inputs`.

        Raises:
            ValueError: If a column is not at least `[batch, length]`, the item ids are
                missing, `seed` is not two integers, or `partners` have other columns or
                another number of rows.
            TypeError: If the item ids are not integers of shape `[batch, length]`.
        """
        if not (training or self.always_active):
            # Wrong inputs are refused here too, not in training alone.
            self.pack(inputs)
            return inputs, inputs if partners is None else partners
        compiled = self.jit_compile and _is_known_to_xla((inputs, partners))
        make = self._compiled_views if compiled else self._views
        views, identical, count = make(inputs, partners, self.resolve_seed(seed))
        # Where a model is built in the scope of a strategy, metrics cannot count.
        if seed is None and not tf.distribute.in_cross_replica_context():
            # As a share and its weight: for many values Keras runs more operations.
            share = tf.math.divide_no_nan(identical, count)
            self.identical_views.update_state(share, count)
        return views

    def _views(
        self, inputs: Any, partners: Any, seed: tf.Tensor
    ) -> tuple[tuple[Any, Any], tf.Tensor, tf.Tensor]:
        """Returns the views, the number of identical pairs, and that of all pairs."""
        batch, unpack = self.pack(inputs)
        partner_batch, unpack_partners = batch, unpack
        if partners is not None:
            partner_batch, unpack_partners = self.pack(partners)
            require_alike(batch, partner_batch)
        first, second = self._augmented(batch, partner_batch, seed)
        views = unpack(first), unpack_partners(second)
        return views, *_count_identical(first, second)

    def _augmented(
        self, batch: SequenceBatch, partners: SequenceBatch, seed: tf.Tensor
    ) -> tuple[SequenceBatch, SequenceBatch]:
        if self._second is None:
            # As one batch twice as long, which takes half as many operations.
            both = concatenate([batch, partners])._replace(views=2)
            return self._augmentation.augment(both, seed).halves()
        first_seed, second_seed = split(seed, 2)
        return (
            self._augmentation.augment(batch, first_seed),
            self._second.augment(partners, second_seed),
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        serialize = tf.keras.layers.serialize
        return {
            **super().get_config(),
            "augmentations": serialize(self._augmentation),
            "second": None if self._second is None else serialize(self._second),
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


def _count_identical(
    first: SequenceBatch, second: SequenceBatch
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns how many pairs of views are identical, and how many are not empty."""
    not_empty = (first.lengths > 0) | (second.lengths > 0)
    identical = not_empty & first.equals(second)
    return (
        tf.reduce_sum(tf.cast(identical, tf.float32)),
        tf.reduce_sum(tf.cast(not_empty, tf.float32)),
    )


def _is_known_to_xla(inputs: Any) -> bool:
    return not any(
        isinstance(column, tf.RaggedTensor)
        or getattr(column, "dtype", None) == tf.string
        for column in tf.nest.flatten(inputs)
    )


def _in_order(name: str, augmentations: Augmentations) -> SequenceAugmentation:
    """Returns one augmentation as it is, and several as a `Sequential`."""
    if isinstance(augmentations, Sequence) and not isinstance(augmentations, str):
        return Sequential(
            checked_augmentation(f"each of {name}", one) for one in augmentations
        )
    return checked_augmentation(name, augmentations)
