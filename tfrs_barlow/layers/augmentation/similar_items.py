"""Brings in items like those of the sequence: in their place, or beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow._checks import whole
from tfrs_barlow.ids import PADDING_ID
from tfrs_barlow.layers.augmentation.base import RatedAugmentation, plain
from tfrs_barlow.layers.augmentation.draws import (
    most_counts,
    random_counts,
    random_keys,
    smallest,
    split,
    spread_choices,
)
from tfrs_barlow.layers.augmentation.row_ops import arrivals, running_counts
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch, look_up


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
        """Initializes the layer.

        Args:
            rate: The share of the positions, in [0, 1].
            neighbors: `[vocabulary size, k]`, integers: the items similar to each id,
                `PADDING_ID` where there are fewer than k; such as
                `tfrsb.data.cooccurrence_neighbors` returns.
            item_tables: By column, its values by item id, `[vocabulary size, ...]`: so
                an item that comes in brings its own category. Columns without a table
                take the value of the position.
            at_least: The least number of positions, if a sequence has as many: so that
                short ones are changed too.
            name: The name of the layer.
            **kwargs: As of `SequenceAugmentation`.

        Raises:
            ValueError: If `rate` is outside [0, 1], `neighbors` is not a table of
                ids, a table does not have a row for each id, or `at_least` is negative.
        """
        super().__init__(rate, name=name, **kwargs)
        self.at_least = whole("at_least", at_least)
        if at_least < 0:
            raise ValueError(f"at_least must be at least 0, but it is {at_least}.")
        self.neighbors = _validated_neighbors(np.asarray(neighbors))
        self.item_tables = {
            column: plain(table) for column, table in (item_tables or {}).items()
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
        # One draw does for both: by its size it decides on the positions, by what
        # `spread_choices` makes of it on the neighbors.
        similar = self._similar(batch, keys)
        return drawn & (similar != PADDING_ID), similar

    def _drawn(
        self, batch: SequenceBatch, counts: tf.Tensor, keys: tf.Tensor
    ) -> tf.Tensor:
        """Returns which positions to draw, `counts` in each row."""
        return smallest(keys, counts, batch.lengths)

    def _similar(self, batch: SequenceBatch, keys: tf.Tensor) -> tf.Tensor:
        """Returns for each item one of its neighbors, `PADDING_ID` if it has none."""
        size, k = self.neighbors.shape
        # All ids beyond the table share one row more, in which there is nothing.
        neighbors = np.append(self.neighbors, np.full([1, k], PADDING_ID), axis=0)
        row = batch.item_ids
        if row.dtype.max < self.neighbors.max():
            raise ValueError(
                f"neighbors holds ids up to {self.neighbors.max()}, but the item ids "
                f"are {row.dtype.name}, which ends at {row.dtype.max}."
            )
        if row.dtype.max > size:  # Else the dtype does not know the number.
            row = tf.minimum(row, size)
        row = tf.cast(row, tf.int32)
        number = _number_of_neighbors(neighbors, row)
        choice = spread_choices(keys, number, k)
        # One look-up in the flat table takes half the time of one by row and column.
        flat = neighbors.astype(np.int32).ravel()
        return look_up(flat, row * k + choice)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs to make the same layer."""
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
    """Replaces a share of each sequence's items by similar ones.

    Of n items, `rate * n` are replaced, rounded up or down at random so that the mean
    is exact; those without a neighbor stay.

    Example:
        >>> neighbors = [[0], [0], [0], [4], [3]]  # 3 and 4 are alike.
        >>> substitute = tfrsb.layers.RandomSubstitute(0.5, neighbors, seed=1)
        >>> view = substitute(tf.constant([[3, 3, 3, 3, 0]]), training=True)
        >>> sorted(view.numpy()[0].tolist())
        [0, 3, 3, 4, 4]

    References:
        Liu et al. 2021, Contrastive Self-supervised Sequential Recommendation with
        Robust Augmentation (CoSeRec), arXiv 2108.06479; rate 0.1 in its code.
    """

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """See `SequenceAugmentation.augment`."""
        drawn, similar = self._draw(batch, seed)
        return batch.put(drawn, similar, self.item_tables)


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class RandomInsert(_SimilarItems):
    """Inserts, before a share of each sequence's items, a similar one.

    The sequence grows: a ragged one by as many items; a dense one keeps its width, and
    loses its oldest items where they no longer fit. An inserted item has the time of
    the item it is put before, so that times stay sorted.

    Of n positions, `rate * n` are drawn, rounded up or down at random so that the mean
    is exact; before an item without a neighbor nothing is inserted.

    Example:
        >>> neighbors = [[0], [0], [0], [4], [3]]  # 3 and 4 are alike.
        >>> insert = tfrsb.layers.RandomInsert(1.0, neighbors)
        >>> insert(tf.ragged.constant([[3, 3, 4]]), training=True)
        <tf.RaggedTensor [[4, 3, 4, 3, 3, 4]]>

    References:
        Liu et al. 2021, Contrastive Self-supervised Sequential Recommendation with
        Robust Augmentation (CoSeRec), arXiv 2108.06479; rate 0.4 in its code.
    """

    _goes_after = False
    """Whether a new item stands after the one that it is like, or before it."""

    def augment(self, batch: SequenceBatch, seed: tf.Tensor) -> SequenceBatch:
        """See `SequenceAugmentation.augment`."""
        drawn, similar = self._draw(batch, seed)
        new = self._new_items(batch, similar)
        new_so_far = running_counts(drawn)
        # Not by the last of these counts, which XLA would then compute once more.
        lengths = batch.lengths + tf.reduce_sum(tf.cast(drawn, tf.int32), axis=1)
        if batch.room is None:
            width, surplus = batch.width + self._most(batch.width), tf.constant(0)
        else:
            width, surplus = batch.room, tf.maximum(lengths - batch.room, 0)
        # A position and what is inserted beside it fill this place and the one before.
        places = batch.positions + new_so_far - tf.reshape(surplus, [-1, 1])
        if self._goes_after:
            places -= tf.cast(drawn, tf.int32)
        lengths -= surplus
        source = self._source(places, lengths, width, batch.width)
        return batch.merge(new, source, lengths)

    def _most(self, width: tf.Tensor) -> tf.Tensor:
        """Returns how many items a row of a width can get at most."""
        most = tf.maximum(most_counts(self.rate, width), self.at_least)
        return tf.minimum(most, width)

    def _new_items(self, batch: SequenceBatch, similar: tf.Tensor) -> SequenceBatch:
        """Returns what to insert beside each position, if it is drawn."""
        return batch.put(None, similar, self.item_tables)

    def _source(
        self, places: tf.Tensor, lengths: tf.Tensor, width: tf.Tensor, olds: tf.Tensor
    ) -> tf.Tensor:
        """Returns which item comes to each place, as `SequenceBatch.merge` counts them.

        Args:
            places: `[batch, olds]`, int32, where the old items go, and the padding
                behind them; a new one goes beside the one that it is like.
            lengths: `[batch]`, int32, how many items there are, the new ones included.
            width: Scalar, int32, how many places there are.
            olds: Scalar, int32, the width of the batch.

        Returns:
            `[batch, width]`, int32.
        """
        if self._goes_after:
            # One place more, for an old item of which only the new one beside it is
            # left. Beside the last item there may be none, though there is a place.
            arrived = arrivals(places + 1, width + 1, olds + 1)
            here, beside = arrived[:, 1:], arrived[:, :-1]
            beside = tf.where(tf.range(width) < lengths[:, tf.newaxis], beside, 0)
        else:
            here = arrivals(places, width, olds + 1)
            beside = tf.concat([here[:, 1:], tf.zeros_like(here[:, :1])], axis=1)
        # A new item has the number of the one beside it, less the width. Where no item
        # comes to a place, nor beside it, there is padding.
        return tf.maximum(here, beside - olds)


def _number_of_neighbors(
    neighbors: npt.NDArray[np.integer], row: tf.Tensor
) -> int | tf.Tensor:
    """Returns how many neighbors to choose from; 1 or more where there is none."""
    k = neighbors.shape[1]
    numbers = (neighbors != PADDING_ID).sum(axis=1, dtype=np.int32)
    if np.isin(numbers, [0, k]).all():
        # Nothing to look up in a full table, as most are.
        return k
    return look_up(np.maximum(numbers, 1), row)


def _validated_neighbors(neighbors: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
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
    # A neighbor is drawn by its number, so the gaps must come last.
    order = np.argsort(neighbors == PADDING_ID, axis=1, kind="stable")
    return np.take_along_axis(neighbors, order, axis=1).astype(np.int32)
