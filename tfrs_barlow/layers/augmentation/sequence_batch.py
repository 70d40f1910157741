"""The form in which augmentations see a batch, whatever form it arrived in."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.layers.augmentation import row_ops


class SequenceBatch(NamedTuple):
    """Sequences in columns that share their positions, items first, padding last.

    Attributes:
        columns: Each `[batch, length, ...]`; 0 (or "") from a row's length on.
        lengths: `[batch]`, int32, the number of items in each row.
        item_column: The name of the column that holds the item ids.
        views: How many views of each sequence there are: with 2, as in `TwoViews`, the
            rows are all first views, followed by all second views. `RandomChoice` reads
            it, to give the two views of a sequence different augmentations.
        max_width: How many positions a row may have in the end: the width of the
            inputs if these are dense, `None` if they are ragged and so may grow.
            `RandomInsert` reads it, and drops the oldest items beyond it.
    """

    columns: dict[str, tf.Tensor]
    lengths: tf.Tensor
    item_column: str
    views: int = 1
    max_width: tf.Tensor | None = None

    @property
    def item_ids(self) -> tf.Tensor:
        """The item ids, `[batch, length]`."""
        return self.columns[self.item_column]

    @property
    def width(self) -> tf.Tensor:
        """The number of positions, `length`, int32."""
        return row_ops.width_of(self.item_ids)

    @property
    def positions(self) -> tf.Tensor:
        """The index of each position in its row, `[1, length]`, int32."""
        return tf.range(self.width)[tf.newaxis]

    @property
    def is_item(self) -> tf.Tensor:
        """Which positions hold an item, `[batch, length]`."""
        return self.positions < self.lengths[:, tf.newaxis]

    def stretch(self, starts: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """Returns which positions, `[batch, length]`, lie in a stretch of each row.

        It starts at `starts` and has `counts` positions, both `[batch]`, int32.
        """
        distance = self.positions - starts[:, tf.newaxis]
        return (distance >= 0) & (distance < counts[:, tf.newaxis])

    def reordered(
        self, starts: tf.Tensor, order: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        """Returns where each position comes from if a stretch of each row is reordered.

        The stretch is as in `stretch`; `order`, `[batch, longest stretch]`, int32, is a
        permutation of its numbers from 0 on.
        """
        inside = self.stretch(starts, counts)
        first = starts[:, tf.newaxis]
        number = tf.where(inside, self.positions - first, 0)
        moved = first + row_ops.gather(order, number)
        return tf.where(inside, moved, self.positions)

    def rearrange(self, source: tf.Tensor, lengths: tf.Tensor) -> SequenceBatch:
        """Returns the rows made of the positions `source`, in every column.

        Args:
            source: `[batch, new length]`, int32: which position each new one is taken
                from; anything from the row's new length on.
            lengths: `[batch]`, int32, the new lengths.
        """
        valid = tf.range(tf.shape(source)[1])[tf.newaxis] < lengths[:, tf.newaxis]
        columns = row_ops.take(self.columns, source, valid)
        return self._replace(columns=columns, lengths=lengths)

    def keep(self, kept: tf.Tensor) -> SequenceBatch:
        """Returns the rows with the positions of `kept`, `[batch, length]`, alone."""
        lengths = tf.reduce_sum(tf.cast(kept, tf.int32), axis=1)
        kept_so_far = row_ops.running_counts(kept)
        # The other positions follow those that are kept, and are cut off there.
        behind = lengths[:, tf.newaxis] + self.positions - kept_so_far
        places = tf.where(kept, kept_so_far - 1, behind)
        return self.rearrange(row_ops.inverse_permutations(places), lengths)

    def merge(
        self, other: SequenceBatch, source: tf.Tensor, lengths: tf.Tensor
    ) -> SequenceBatch:
        """Returns the rows made of positions of this batch and of another one.

        Args:
            other: A batch of the same columns, rows and width.
            source: `[batch, new length]`, int32: which position each new one is taken
                from. Those of `other` have the numbers from 1 on, those of this batch
                the numbers from `width + 1` on. 0 is padding; it must be 0 from the
                row's new length on.
            lengths: `[batch]`, int32, the new lengths.
        """
        columns = {}
        for name, column in self.columns.items():
            padding = tf.zeros_like(column[:, :1])
            both = tf.concat([padding, other.columns[name], column], axis=1)
            columns[name] = row_ops.gather(both, source)
        return self._replace(columns=columns, lengths=lengths)

    def hide(self, hidden: tf.Tensor, values: Mapping[str, Any]) -> SequenceBatch:
        """Returns the batch with other values at hidden positions.

        Args:
            hidden: `[batch, length]`, bool; only positions that hold an item count.
            values: By column, what replaces a hidden value.
        """
        self._require_columns("mask_values", values)
        hidden &= self.is_item
        columns = dict(self.columns)
        for name, value in values.items():
            columns[name] = row_ops.where(~hidden, columns[name], value)
        return self._replace(columns=columns)

    def put(
        self,
        where: tf.Tensor | None,
        item_ids: tf.Tensor,
        tables: Mapping[str, npt.ArrayLike],
    ) -> SequenceBatch:
        """Returns the batch with other items in some positions.

        Args:
            where: `[batch, length]`, bool; `None` for all.
            item_ids: `[batch, length]`, the items to put there.
            tables: By column, its values by item id. Columns without a table keep the
                value of the position.
        """
        self._require_columns("item_tables", tables)
        values = {self.item_column: tf.cast(item_ids, self.item_ids.dtype)}
        # Look-ups take no other integers; item ids can be, say, uint16.
        rows = tf.cast(item_ids, tf.int32)
        for name, table in tables.items():
            column = self.columns[name]
            looked_up = row_ops.look_up(_fitting_table(name, table, column), rows)
            values[name] = tf.cast(looked_up, column.dtype)
        if where is not None:
            for name, column in values.items():
                values[name] = row_ops.where(where, column, self.columns[name])
        return self._replace(columns={**self.columns, **values})

    def swap(
        self,
        where: tf.Tensor,
        rows: tf.Tensor,
        positions: tf.Tensor,
        fixed_columns: Sequence[str],
    ) -> SequenceBatch:
        """Returns the batch with items of other rows in some positions.

        Args:
            where: `[batch, length]`, bool, these positions.
            rows: `[batch, length]`, int32, the row to take an item from.
            positions: `[batch, length]`, int32, its position there.
            fixed_columns: Columns that stay as they are.
        """
        self._require_columns("fixed_columns", fixed_columns)
        source = tf.stack([rows, positions], axis=-1)
        columns = {
            name: column
            if name in fixed_columns
            else row_ops.where(~where, column, tf.gather_nd(column, source))
            for name, column in self.columns.items()
        }
        return self._replace(columns=columns)

    def rows(self, rows: tf.Tensor) -> SequenceBatch:
        """Returns the rows of these numbers, `[new batch]`, as a batch of one view."""
        columns = {
            name: tf.gather(column, rows) for name, column in self.columns.items()
        }
        lengths = tf.gather(self.lengths, rows)
        return self._replace(columns=columns, lengths=lengths, views=1)

    def where_rows(self, chosen: tf.Tensor, otherwise: SequenceBatch) -> SequenceBatch:
        """Returns the chosen rows, `[batch]`, of this batch, and the other's elsewhere.

        The other batch must have the same number of rows.
        """
        batch, otherwise = _of_one_width([self, otherwise])
        columns = {
            name: row_ops.where(chosen[:, tf.newaxis], column, otherwise.columns[name])
            for name, column in batch.columns.items()
        }
        lengths = tf.where(chosen, batch.lengths, otherwise.lengths)
        return batch._replace(columns=columns, lengths=lengths)

    def widened(self, width: tf.Tensor) -> SequenceBatch:
        """Returns the batch with padding up to a width, at least the present one."""
        added = width - self.width
        columns = {
            name: row_ops.pad(column, added) for name, column in self.columns.items()
        }
        return self._replace(columns=columns)

    def equals(self, other: SequenceBatch) -> tf.Tensor:
        """Returns which rows are the same in all columns, `[batch]`, bool."""
        batch, other = _of_one_width([self, other])
        equal = batch.lengths == other.lengths
        for name, column in batch.columns.items():
            same = column == other.columns[name]
            if column.dtype.is_floating:
                same |= tf.math.is_nan(column) & tf.math.is_nan(other.columns[name])
            equal &= tf.reduce_all(same, axis=range(1, column.shape.rank))
        return equal

    def halves(self) -> tuple[SequenceBatch, SequenceBatch]:
        """Returns the first views and the second views of a batch of two views."""
        size = tf.shape(self.lengths)[0] // 2
        return self._slice(0, size), self._slice(size, 2 * size)

    def _slice(self, start: Any, stop: tf.Tensor) -> SequenceBatch:
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        lengths = self.lengths[start:stop]
        return self._replace(columns=columns, lengths=lengths, views=1)

    def _require_columns(self, argument: str, names: Iterable[str]) -> None:
        unknown = sorted(set(names) - set(self.columns))
        if unknown:
            raise ValueError(
                f"{argument} names the columns {unknown}, but the columns of the "
                f"inputs are {sorted(self.columns)}."
            )


def concatenate(batches: Sequence[SequenceBatch]) -> SequenceBatch:
    """Returns the rows of all batches, as wide as the widest one."""
    batches = _of_one_width(batches)
    columns = {
        name: tf.concat([batch.columns[name] for batch in batches], axis=0)
        for name in batches[0].columns
    }
    lengths = tf.concat([batch.lengths for batch in batches], axis=0)
    widths = [batch.max_width for batch in batches]
    max_width = None if None in widths else functools.reduce(tf.maximum, widths)
    return SequenceBatch(columns, lengths, batches[0].item_column, max_width=max_width)


def _of_one_width(batches: Sequence[SequenceBatch]) -> list[SequenceBatch]:
    """Pads all batches to the widest one, since insertions make a batch wider."""
    known = {batch.item_ids.shape[1] for batch in batches}
    if len(known) == 1 and None not in known:
        return list(batches)
    widest = functools.reduce(tf.maximum, [batch.width for batch in batches])
    return [batch.widened(widest) for batch in batches]


def _fitting_table(name: str, table: npt.ArrayLike, column: tf.Tensor) -> tf.Tensor:
    """Returns a table as a tensor, if a column can hold its values."""
    values = tf.convert_to_tensor(table)
    fits = values.dtype == column.dtype or (
        _is_number(values.dtype)
        and _is_number(column.dtype)
        # Fractions would be cut off.
        and not (values.dtype.is_floating and column.dtype.is_integer)
    )
    if not (fits and values.shape[1:].is_compatible_with(column.shape[2:])):
        raise ValueError(
            f"item_tables[{name!r}] must hold {column.dtype.name} values of the shape "
            f"{column.shape[2:]}, as the column does, but they are {values.dtype.name} "
            f"of the shape {values.shape[1:]}."
        )
    return values


def _is_number(dtype: tf.DType) -> bool:
    return dtype.is_integer or dtype.is_floating
