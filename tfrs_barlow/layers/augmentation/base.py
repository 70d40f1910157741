"""What all augmentations of sequences have in common."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow._checks import boolean, integer, number, one_of, text
from tfrs_barlow.layers.augmentation.packing import PaddingSide, pack
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch


class _RandomSequenceLayer(tf.keras.layers.Layer):
    """A layer that draws at random for sequences: its settings and its seeds."""

    def __init__(
        self,
        *,
        item_column: str = "item_id",
        padding_side: PaddingSide = "auto",
        always_active: bool = False,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        # Columns keep their dtype: float64 times would lose minutes as float32.
        super().__init__(name=name, autocast=False, **kwargs)
        self.item_column = text("item_column", item_column)
        self.padding_side = one_of("padding_side", padding_side, get_args(PaddingSide))
        self.always_active = boolean("always_active", always_active)
        if seed is None:
            # `tf.keras.utils.set_random_seed` seeds this generator too.
            seed = random.getrandbits(31)
        self.seed = integer("seed", seed, at_least=-(2**63), at_most=2**63 - 1)

    def build(self, input_shape: Any) -> None:
        """Creates the counter of draws."""
        self._draws = self.add_weight(
            name="draws",
            shape=(),
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def pack(self, inputs: Any) -> tuple[SequenceBatch, Callable[[SequenceBatch], Any]]:
        """Returns the inputs as a `SequenceBatch`, and a function that undoes this."""
        return pack(inputs, self.item_column, self.padding_side)

    def resolve_seed(self, seed: Any) -> tf.Tensor:
        """Returns the `[2]` seed of a call: the one that was passed, or a new one.

        No earlier call and no other replica gets the same new seed.
        """
        if seed is None:
            draw = self._draws.assign_add(1, read_value=True)
            # None in the scope of a strategy, as where a model is built or loaded.
            context = tf.distribute.get_replica_context()
            replica = 0 if context is None else context.replica_id_in_sync_group
            return tf.stack([self.seed + 2**32 * tf.cast(replica, tf.int64), draw])
        seed = tf.convert_to_tensor(seed)
        if not (seed.dtype.is_integer and seed.shape.is_compatible_with([2])):
            raise ValueError(
                "seed must be two integers, but it is of the dtype "
                f"{seed.dtype.name} and the shape {seed.shape}."
            )
        return seed

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "item_column": self.item_column,
            "padding_side": self.padding_side,
            "always_active": self.always_active,
            "seed": self.seed,
        }


class SequenceAugmentation(_RandomSequenceLayer):
    """Base of the layers that change sequences at random, in training only.

    A subclass implements `augment`. It decides which positions to keep, hide or move;
    that is then applied to every column, so that each item keeps its own category,
    rating and time.

    Inputs are integer item ids as a dense `[batch, length]` tensor (padded on either
    side with 0) or a `tf.RaggedTensor`, or a dict of columns that share their
    positions, each `[batch, length]` or `[batch, length, ...]`. The output has the form
    of the input; the input itself is never changed. A dense output keeps the shape of
    the input: what an augmentation removes becomes padding.

    Each call makes new draws, counted by a weight of the layer, which is part of its
    checkpoints; replicas draw differently. There are two kinds of `seed`: an integer in
    the constructor fixes the draws of all calls, and a `[2]` tensor in a call fixes
    those of this call. Inside `tf.data.Dataset.map` pass the latter: calls run in
    parallel there, in any order.

    Args:
        item_column: The column that holds the item ids, if inputs are a dict.
        padding_side: Where to pad dense output: `"left"`, `"right"`, or `"auto"`: left
            if any row of the batch is padded on the left, else right.
        always_active: Whether to augment even if `training` is false.
        seed: An integer that fixes the draws of all calls; `None` takes a random one.
        name: The name of the layer.
        **kwargs: Passed on to `tf.keras.layers.Layer`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `padding_side` is unknown.

    Examples:
        >>> class Reverse(tfrsb.layers.SequenceAugmentation):
        ...     def augment(self, batch, seed):
        ...         source = batch.lengths[:, tf.newaxis] - 1 - batch.positions
        ...         return batch.rearrange(source, batch.lengths)
        >>> Reverse()(tf.constant([[3, 4, 5, 0]]), training=True).numpy()
        array([[5, 4, 3, 0]], dtype=int32)
    """

    def call(
        self, inputs: Any, training: bool | None = None, seed: tf.Tensor | None = None
    ) -> Any:
        """Augments the sequences in training, and returns them unchanged otherwise.

        Args:
            inputs: Item ids or a dict of columns, dense or ragged.
            training: Whether to augment.
            seed: `[2]` integers that fix the draws of this call; `None` for new draws.

        Returns:
            The augmented sequences, in the form of `inputs`.

        Raises:
            ValueError: If a column is not at least `[batch, length]`, the item ids are
                missing, or `seed` is not two integers.
            TypeError: If the item ids are not integers of shape `[batch, length]`.
        """
        batch, unpack = self.pack(inputs)
        if not (training or self.always_active):
            return inputs
        return unpack(self.augment(batch, self.resolve_seed(seed)))

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch.

        Args:
            batch: The sequences; a row may be empty.
            seed: `[2]` integers that fix all draws.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement augment.")


class RatedAugmentation(SequenceAugmentation):
    """Base of the augmentations that act on a share of each sequence, the `rate`."""

    def __init__(self, rate: float, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.rate = number("rate", rate, at_least=0, at_most=1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "rate": self.rate}


def serializable(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Returns an array whose `tolist` can be saved: bytes are decoded to text."""
    array = np.asarray(values)
    if array.dtype.kind == "O":
        array = array.astype("S" if isinstance(array.flat[0], bytes) else "U")
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
