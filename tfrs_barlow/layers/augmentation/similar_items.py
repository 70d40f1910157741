"""Brings in items like those of the sequence: in their place, or next to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow._checks import integer
from tfrs_barlow.ids import PADDING_ID
from tfrs_barlow.layers.augmentation.base import RatedAugmentation, serializable
from tfrs_barlow.layers.augmentation.draws import (
    max_counts,
    random_counts,
    random_keys,
    smallest_mask,
    split,
    spread_choices,
)
from tfrs_barlow.layers.augmentation.row_ops import arrivals, look_up, running_counts
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch


class _SimilarItems(RatedAugmentation):
    """Draws positions, and a similar item for each."""

    def __init__(
        self,
        rate: float,
        neighbors: npt.ArrayLike,
        *,
        item_tables: Mapping[str, npt.ArrayLike] | None = None,
        at_least: int = 0,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, name=name, **kwargs)
        self.at_least = integer("at_least", at_least, at_least=0)
        self.neighbors = _checked_neighbors(np.asarray(neighbors))
        if not isinstance(item_tables, Mapping | None):
            raise TypeError(
                f"item_tables must be a dict of tables by column, but it is "
                f"{item_tables!r}."
            )
        self.item_tables = {
            column: serializable(table) for column, table in (item_tables or {}).items()
        }
        for column, table in self.item_tables.items():
            if table.ndim < 1 or len(table) != len(self.neighbors):
                raise ValueError(
                    f"item_tables[{column!r}] must have a row for each of the "
                    f"{len(self.neighbors)} ids, but its shape is {table.shape}."
                )

    def _draw(
        self, batch: SequenceBatch, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns which positions are drawn, and a similar item for every position.

        A position whose item has no neighbor is not drawn.
        """
        count_seed, position_seed = split(seed, 2)
        counts = random_counts(self.rate, batch.lengths, count_seed)
        counts = tf.maximum(counts, tf.minimum(batch.lengths, self.at_least))
        keys = random_keys(batch.lengths, batch.width, position_seed)
        drawn = self._drawn(batch, counts, keys)
        # The same random key selects positions (by its size) and, through
        # `spread_choices`, the neighbor.
        similar = self._similar(batch, keys)
        return drawn & (similar != PADDING_ID), similar

    def _drawn(
        self, batch: SequenceBatch, counts: tf.Tensor, keys: tf.Tensor
    ) -> tf.Tensor:
        """Returns which positions to draw, `counts` in each row."""
        return smallest_mask(keys, counts, batch.lengths)

    def _similar(self, batch: SequenceBatch, keys: tf.Tensor) -> tf.Tensor:
        """Returns for each item one of its neighbors; `PADDING_ID` without any."""
        size, k = self.neighbors.shape
        # All ids beyond the table share one more row, which is empty.
        neighbors = np.append(self.neighbors, np.full([1, k], PADDING_ID), axis=0)
        row = batch.item_ids
        if row.dtype.max < self.neighbors.max():
            raise ValueError(
                f"neighbors holds ids up to {self.neighbors.max()}, but the item ids "
                f"are {row.dtype.name}, which ends at {row.dtype.max}."
            )
        if row.dtype.max > size:  # Otherwise the dtype could not hold the number.
            row = tf.minimum(row, size)
        row = tf.cast(row, tf.int32)
        number = _number_of_neighbors(neighbors, row)
        choice = spread_choices(keys, number, k)
        # One look-up in the flat table takes half the time of one by row and column.
        flat = neighbors.astype(np.int32).ravel()
        return look_up(flat, row * k + choice)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "neighbors": self.neighbors.tolist(),
            "at_least": self.at_least,
            "item_tables": {
                column: table.tolist() for column, table in self.item_tables.items()
            },
        }


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class RandomSubstitute(_SimilarItems):
    """Replaces the share `rate` of each sequence's items by similar ones, anywhere.

    Of n items, `rate * n` are replaced, rounded up or down at random so that the mean
    is exact; those without a neighbor stay.

    Args:
        rate: The share of the items to replace, in [0, 1].
        neighbors: `[vocabulary size, k]`, integers: the items similar to each id,
            filled up with `PADDING_ID`, such as `tfrsb.data.cooccurrence_neighbors`
            returns.
        item_tables: By column, its values by item id, `[vocabulary size, ...]`: so a
            new item brings its own category. Columns without a table stay as they are.
        at_least: The least number of items to replace, if a sequence has as many, so
            that short sequences are changed too.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> neighbors = [[0], [0], [0], [4], [3]]  # 3 and 4 are alike.
        >>> substitute = tfrsb.layers.RandomSubstitute(0.5, neighbors, seed=1)
        >>> view = substitute(tf.constant([[3, 3, 3, 3, 0]]), training=True)
        >>> sorted(view.numpy()[0].tolist())
        [0, 3, 3, 4, 4]

    References:
        Liu et al. (2021), "Contrastive Self-supervised Sequential Recommendation with
        Robust Augmentation" (CoSeRec), https://arxiv.org/abs/2108.06479; its code has a
        rate of 0.1.
    """

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch."""
        drawn, similar = self._draw(batch, seed)
        return batch.put(drawn, similar, self.item_tables)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class RandomInsert(_SimilarItems):
    """Inserts a similar item before the share `rate` of each sequence's items.

    The sequence grows: a ragged one by as many items; a dense one keeps its width, and
    loses its oldest items where they no longer fit. An inserted item has the time of
    the item that follows it, so that times stay sorted.

    Of n items, `rate * n` get one before them, rounded up or down at random so that the
    mean is exact; before an item without a neighbor nothing is inserted.

    Args:
        rate: How many items to insert, as a share of those there are, in [0, 1].
        neighbors: `[vocabulary size, k]`, integers: the items similar to each id,
            filled up with `PADDING_ID`, such as `tfrsb.data.cooccurrence_neighbors`
            returns.
        item_tables: By column, its values by item id, `[vocabulary size, ...]`: so a
            new item brings its own category. Columns without a table take the value of
            the item that follows.
        at_least: The least number of items to insert, if a sequence has as many, so
            that short sequences are changed too.
        name: The name of the layer.
        **kwargs: Passed on to `SequenceAugmentation`: `item_column`, `padding_side`,
            `always_active` and `seed`.

    Examples:
        >>> neighbors = [[0], [0], [0], [4], [3]]  # 3 and 4 are alike.
        >>> insert = tfrsb.layers.RandomInsert(1.0, neighbors)
        >>> insert(tf.ragged.constant([[3, 3, 4]]), training=True)
        <tf.RaggedTensor [[4, 3, 4, 3, 3, 4]]>

    References:
        Liu et al. (2021), "Contrastive Self-supervised Sequential Recommendation with
        Robust Augmentation" (CoSeRec), https://arxiv.org/abs/2108.06479; its code has a
        rate of 0.4.
    """

    _goes_after = False
    """Whether a new item stands after the one that it is like, or before it."""

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """Returns the augmented batch."""
        drawn, similar = self._draw(batch, seed)
        new = self._new_items(batch, similar)
        new_so_far = running_counts(drawn)
        # Not the last of these counts, which XLA would then compute twice.
        lengths = batch.lengths + tf.reduce_sum(tf.cast(drawn, tf.int32), axis=1)
        if batch.max_width is None:
            added = tf.maximum(max_counts(self.rate, batch.width), self.at_least)
            width = batch.width + tf.minimum(added, batch.width)
            surplus = tf.constant(0)
        else:
            width = batch.max_width
            surplus = tf.maximum(lengths - width, 0)
        # A position and its new item fill this place and the one before.
        places = batch.positions + new_so_far - tf.reshape(surplus, [-1, 1])
        if self._goes_after:
            places -= tf.cast(drawn, tf.int32)
        lengths -= surplus
        source = self._source(places, lengths, width, batch.width)
        return batch.merge(new, source, lengths)

    def _new_items(self, batch: SequenceBatch, similar: tf.Tensor) -> SequenceBatch:
        """Returns the item to insert next to each position, if it is drawn."""
        return batch.put(None, similar, self.item_tables)

    def _source(
        self, places: tf.Tensor, lengths: tf.Tensor, width: tf.Tensor, olds: tf.Tensor
    ) -> tf.Tensor:
        """Returns which item comes to each place, as `SequenceBatch.merge` counts them.

        Args:
            places: `[batch, olds]`, int32, where the old items go, followed by padding;
                a new item goes next to the one that it is like.
            lengths: `[batch]`, int32, how many items there are, including new ones.
            width: Scalar, int32, how many places there are.
            olds: Scalar, int32, the width of the batch.

        Returns:
            `[batch, width]`, int32.
        """
        if self._goes_after:
            # With one more place, for an old item of which only the new one next to it
            # is left. The last item may have no new one, though there is a place.
            arrived = arrivals(places + 1, width + 1, olds + 1)
            here, next_to = arrived[:, 1:], arrived[:, :-1]
            next_to = tf.where(tf.range(width) < lengths[:, tf.newaxis], next_to, 0)
        else:
            here = arrivals(places, width, olds + 1)
            next_to = tf.concat([here[:, 1:], tf.zeros_like(here[:, :1])], axis=1)
        # A new item has the number of its old one, less the width. A place to which no
        # item comes, nor to the next, holds padding.
        return tf.maximum(here, next_to - olds)


def _number_of_neighbors(
    neighbors: npt.NDArray[np.integer], row: tf.Tensor
) -> int | tf.Tensor:
    """Returns how many neighbors to choose from, at least 1."""
    k = neighbors.shape[1]
    numbers = (neighbors != PADDING_ID).sum(axis=1, dtype=np.int32)
    if np.isin(numbers, [0, k]).all():
        # A full table, as most are, needs no look-up.
        return k
    return look_up(np.maximum(numbers, 1), row)


def _checked_neighbors(neighbors: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    if neighbors.ndim != 2 or not np.issubdtype(neighbors.dtype, np.integer):
        raise ValueError(
            "neighbors must be integers of shape [vocabulary size, k], but they are "
            f"{neighbors.dtype} of shape {neighbors.shape}."
        )
    size = len(neighbors)
    if neighbors.size == 0 or neighbors.min() < 0 or neighbors.max() >= size:
        raise ValueError(
            f"neighbors must be ids below their number of rows, {size}, and at least "
            "one column of them."
        )
    # A neighbor is drawn by its number, so gaps must come last.
    order = np.argsort(neighbors == PADDING_ID, axis=1, kind="stable")
    return np.take_along_axis(neighbors, order, axis=1).astype(np.int32)
