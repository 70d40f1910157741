"""What all augmentations of sequences have in common."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow._checks import whole
from tfrs_barlow.layers.augmentation.sequence_batch import (
    PADDING_SIDES,
    PaddingSide,
    SequenceBatch,
    pack,
)


class RandomSequenceLayer(tf.keras.layers.Layer):
    """A layer on sequences with random draws of its own: settings and seeds."""

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
        """Initializes the layer.

        Args:
            item_column: Which column of a dict holds the item ids.
            padding_side: On which side to pad dense output: `"left"`, `"right"`, or
                `"auto"`: left if any row of the batch is padded there, else right.
            always_active: Whether to augment even if `training` is false.
            seed: Fixes the sequence of draws; `None` takes a random one.
            name: The name of the layer.
            **kwargs: As of `tf.keras.layers.Layer`.

        Raises:
            ValueError: If `padding_side` is unknown.
            TypeError: If `seed` is neither `None` nor an integer.
        """
        # Columns keep their dtype: float64 times would lose minutes as float32.
        super().__init__(name=name, autocast=False, **kwargs)
        if padding_side not in PADDING_SIDES:
            raise ValueError(
                f"padding_side must be one of {PADDING_SIDES}, but it is "
                f"{padding_side!r}."
            )
        self.item_column = item_column
        self.padding_side = padding_side
        self.always_active = always_active
        # `tf.keras.utils.set_random_seed` seeds this generator too.
        self.seed = random.getrandbits(31) if seed is None else whole("seed", seed)

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
        """Brings the inputs into a `SequenceBatch`; also returns the way back."""
        return pack(inputs, self.item_column, self.padding_side)

    def resolve_seed(self, seed: Any) -> tf.Tensor:
        """Returns the `[2]` seed of a call: the one that was passed, or a new one.

        A new one is what no earlier call and no other replica has got.

        Raises:
            ValueError: If `seed` is neither `None` nor two integers.
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
        """Returns what `from_config` needs to make the same layer."""
        return {
            **super().get_config(),
            "item_column": self.item_column,
            "padding_side": self.padding_side,
            "always_active": self.always_active,
            "seed": self.seed,
        }


def plain(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Returns an array whose `tolist` can be saved: text for bytes, as of tensors."""
    array = np.asarray(values)
    if array.dtype.kind == "O":
        array = array.astype("S" if isinstance(array.flat[0], bytes) else "U")
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


class SequenceAugmentation(RandomSequenceLayer):
    """Base of the layers that change sequences at random, in training only.

    A subclass implements `augment`. It decides which positions to keep, hide or move;
    that is then applied to every column, so that each item stays beside its own
    category, rating and time.

    Inputs are integer item ids as a dense `[batch, length]` tensor (padded on either
    side with 0) or a `tf.RaggedTensor`, or a dict of columns that share their
    positions, each `[batch, length]` or `[batch, length, ...]`. The output has the form
    of the input; it is never changed in place. A dense output keeps the shape of the
    input: what an augmentation removes becomes padding.

    Randomness is stateless. Each call draws anew, by a counter that is part of the
    layer's weights and so of its checkpoints, and differently on each replica. Pass
    `seed` to a call to fix its draws, as one must inside `tf.data.Dataset.map` for
    results that do not depend on the order of parallel calls.
    """

    def call(
        self, inputs: Any, training: bool | None = None, seed: tf.Tensor | None = None
    ) -> Any:
        """Augments the sequences if `training`, else returns them as they are.

        Args:
            inputs: Item ids or a dict of columns, dense or ragged: see the class.
            training: Whether to augment.
            seed: `[2]` integers that fix the draws of this call; `None` draws anew.

        Returns:
            The augmented sequences, in the form of `inputs`.

        Raises:
            ValueError: If a column is not at least `[batch, length]`, the one of item
                ids is missing, or `seed` is not two integers.
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
    """Base of the augmentations that act on a share of each sequence."""

    def __init__(self, rate: float, *, name: str | None = None, **kwargs: Any) -> None:
        """Initializes the layer.

        Args:
            rate: The share of a sequence's items, in [0, 1].
            name: The name of the layer.
            **kwargs: As of `SequenceAugmentation`.

        Raises:
            ValueError: If `rate` is outside [0, 1].
        """
        super().__init__(name=name, **kwargs)
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must lie in [0, 1], but it is {rate}.")
        self.rate = rate

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs to make the same layer."""
        return {**super().get_config(), "rate": self.rate}
