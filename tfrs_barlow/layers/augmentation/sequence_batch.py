"""The one form in which augmentations see a batch, whatever form it arrived in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.ids import PADDING_ID
from tfrs_barlow.layers.augmentation.row_ops import (
    inverse_permutations,
    running_counts,
)

PaddingSide = Literal["auto", "left", "right"]
PADDING_SIDES = ("auto", "left", "right")


class SequenceBatch(NamedTuple):
    """Sequences in columns that share their positions, items first, padding last.

    Attributes:
        columns: Each `[batch, length, ...]`; 0 (or "") from a row's length on.
        lengths: `[batch]`, int32, the number of items in each row.
        item_column: The name of the column that holds the item ids.
        views: How many views of each sequence the rows are: first the one of all, then
            the other of all.
        room: How many positions a row may have at most; `None` for any number.
    """

    columns: dict[str, tf.Tensor]
    lengths: tf.Tensor
    item_column: str
    views: int = 1
    room: tf.Tensor | None = None

    @property
    def item_ids(self) -> tf.Tensor:
        """The item ids, `[batch, length]`."""
        return self.columns[self.item_column]

    @property
    def width(self) -> tf.Tensor:
        """The number of positions, `length`, int32."""
        return _width(self.item_ids)

    @property
    def positions(self) -> tf.Tensor:
        """The index of each position in its row, `[1, length]`, int32."""
        return tf.range(self.width)[tf.newaxis]

    @property
    def is_item(self) -> tf.Tensor:
        """Which positions hold an item, `[batch, length]`."""
        return self.positions < self.lengths[:, tf.newaxis]

    def stretch(self, starts: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """Returns which positions lie in a stretch of each row, `[batch, length]`.

        Args:
            starts: `[batch]`, int32, the first position of the stretch.
            counts: `[batch]`, int32, its length.
        """
        distance = self.positions - starts[:, tf.newaxis]
        return (distance >= 0) & (distance < counts[:, tf.newaxis])

    def reordered(
        self, starts: tf.Tensor, order: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        """Returns where each position comes from if a stretch of each row is reordered.

        Args:
            starts: `[batch]`, int32, the first position of the stretch.
            order: `[batch, longest stretch]`, int32, a permutation of the stretch, by
                numbers from 0 on.
            counts: `[batch]`, int32, the length of the stretch.
        """
        inside = self.stretch(starts, counts)
        first = starts[:, tf.newaxis]
        number = tf.where(inside, self.positions - first, 0)
        moved = first + _gather(order, number)
        return tf.where(inside, moved, self.positions)

    def rearrange(self, source: tf.Tensor, lengths: tf.Tensor) -> SequenceBatch:
        """Returns the rows made of the positions `source`, in every column alike.

        Args:
            source: `[batch, new length]`, int32: which position each new one is taken
                from; anything from the row's new length on.
            lengths: `[batch]`, int32, the new lengths.
        """
        valid = tf.range(tf.shape(source)[1])[tf.newaxis] < lengths[:, tf.newaxis]
        columns = _take(self.columns, source, valid)
        return self._replace(columns=columns, lengths=lengths)

    def merge(
        self, other: SequenceBatch, source: tf.Tensor, lengths: tf.Tensor
    ) -> SequenceBatch:
        """Returns the rows made of positions of this batch and of another one.

        Args:
            other: A batch of the same columns, rows and width.
            source: `[batch, new length]`, int32: which position each new one is taken
                from. The other's are numbered from 1 on, this one's from `width + 1`
                on; 0 is padding, which all must be from the row's new length on.
            lengths: `[batch]`, int32, the new lengths.
        """
        columns = {}
        for name, column in self.columns.items():
            padding = tf.zeros_like(column[:, :1])
            both = tf.concat([padding, other.columns[name], column], axis=1)
            columns[name] = _gather(both, source)
        return self._replace(columns=columns, lengths=lengths)

    def rows(self, rows: tf.Tensor) -> SequenceBatch:
        """Returns some of the rows, as a batch of one view.

        Args:
            rows: `[new batch]`, int32, the numbers of the rows.
        """
        columns = {
            name: tf.gather(column, rows) for name, column in self.columns.items()
        }
        lengths = tf.gather(self.lengths, rows)
        return self._replace(columns=columns, lengths=lengths, views=1)

    def where_rows(self, chosen: tf.Tensor, otherwise: SequenceBatch) -> SequenceBatch:
        """Returns the chosen rows of this batch, and those of the other elsewhere.

        Args:
            chosen: `[batch]`, bool.
            otherwise: A batch of the same number of rows.
        """
        batch, otherwise = of_one_width([self, otherwise])
        columns = {
            name: _where(chosen[:, tf.newaxis], column, otherwise.columns[name])
            for name, column in batch.columns.items()
        }
        lengths = tf.where(chosen, batch.lengths, otherwise.lengths)
        return batch._replace(columns=columns, lengths=lengths)

    def widened(self, width: tf.Tensor) -> SequenceBatch:
        """Returns the batch with padding up to a width, which is not below its own."""
        added = width - self.width
        columns = {name: _pad(column, added) for name, column in self.columns.items()}
        return self._replace(columns=columns)

    def equals(self, other: SequenceBatch) -> tf.Tensor:
        """Returns which rows are the same in all columns, `[batch]`, bool."""
        batch, other = of_one_width([self, other])
        equal = batch.lengths == other.lengths
        for name, column in batch.columns.items():
            same = column == other.columns[name]
            if column.dtype.is_floating:
                same |= tf.math.is_nan(column) & tf.math.is_nan(other.columns[name])
            equal &= tf.reduce_all(same, axis=range(1, column.shape.rank))
        return equal

    def halves(self) -> tuple[SequenceBatch, SequenceBatch]:
        """Returns the two views of a batch of two."""
        size = tf.shape(self.lengths)[0] // 2
        return self._slice(0, size), self._slice(size, 2 * size)

    def _slice(self, start: Any, stop: tf.Tensor) -> SequenceBatch:
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        lengths = self.lengths[start:stop]
        return self._replace(columns=columns, lengths=lengths, views=1)

    def keep(self, kept: tf.Tensor) -> SequenceBatch:
        """Returns the rows without the positions that are not kept.

        Args:
            kept: `[batch, length]`, bool.
        """
        lengths = tf.reduce_sum(tf.cast(kept, tf.int32), axis=1)
        kept_so_far = running_counts(kept)
        # Those that are not kept go behind the others, where they are cut off.
        behind = lengths[:, tf.newaxis] + self.positions - kept_so_far
        places = tf.where(kept, kept_so_far - 1, behind)
        return self.rearrange(inverse_permutations(places), lengths)

    def put(
        self,
        where: tf.Tensor | None,
        item_ids: tf.Tensor,
        tables: Mapping[str, tf.Tensor],
    ) -> SequenceBatch:
        """Returns the batch with other items in some positions.

        Args:
            where: `[batch, length]`, bool; `None` for all.
            item_ids: `[batch, length]`, the items to put there.
            tables: By column, its values by item id. Columns without a table keep the
                value that the position has.

        Raises:
            ValueError: If `tables` names a column that is not there, or holds what does
                not fit into a column.
        """
        self._require_columns("item_tables", tables)
        item_ids = tf.cast(item_ids, self.item_ids.dtype)
        values = {self.item_column: item_ids}
        for name, table in tables.items():
            column = self.columns[name]
            looked_up = look_up(_fitting_table(name, table, column), item_ids)
            values[name] = tf.cast(looked_up, column.dtype)
        if where is not None:
            for name, column in values.items():
                values[name] = _where(where, column, self.columns[name])
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
            where: `[batch, length]`, bool.
            rows: `[batch, length]`, int32, the row to take an item from.
            positions: `[batch, length]`, int32, its position there.
            fixed_columns: Columns that stay as they are.

        Raises:
            ValueError: If one of `fixed_columns` is not there.
        """
        self._require_columns("fixed_columns", fixed_columns)
        source = tf.stack([rows, positions], axis=-1)
        columns = {
            name: column
            if name in fixed_columns
            else _where(~where, column, tf.gather_nd(column, source))
            for name, column in self.columns.items()
        }
        return self._replace(columns=columns)

    def hide(self, hidden: tf.Tensor, values: Mapping[str, Any]) -> SequenceBatch:
        """Returns the batch with `values` of each named column at hidden positions.

        Args:
            hidden: `[batch, length]`, bool; only positions that hold an item count.
            values: By column, what stands for a hidden value.

        Raises:
            ValueError: If `values` names a column that is not there.
        """
        self._require_columns("mask_values", values)
        hidden &= self.is_item
        columns = dict(self.columns)
        for name, value in values.items():
            columns[name] = _where(~hidden, columns[name], value)
        return self._replace(columns=columns)

    def _require_columns(self, argument: str, names: Iterable[str]) -> None:
        unknown = sorted(set(names) - set(self.columns))
        if unknown:
            raise ValueError(
                f"{argument} names the columns {unknown}, but the columns of the "
                f"inputs are {sorted(self.columns)}."
            )


def concatenate(batches: Sequence[SequenceBatch]) -> SequenceBatch:
    """Returns the rows of all batches, of the widest one's width."""
    batches = of_one_width(batches)
    columns = {
        name: tf.concat([batch.columns[name] for batch in batches], axis=0)
        for name in batches[0].columns
    }
    lengths = tf.concat([batch.lengths for batch in batches], axis=0)
    rooms = [batch.room for batch in batches]
    room = None if None in rooms else functools.reduce(tf.maximum, rooms)
    return SequenceBatch(columns, lengths, batches[0].item_column, room=room)


def of_one_width(batches: Sequence[SequenceBatch]) -> list[SequenceBatch]:
    """Pads all batches to the widest, since insertion makes room for more items."""
    known = {batch.item_ids.shape[1] for batch in batches}
    if len(known) == 1 and None not in known:
        return list(batches)
    widest = functools.reduce(tf.maximum, [batch.width for batch in batches])
    return [batch.widened(widest) for batch in batches]


def pack(
    inputs: Any, item_column: str, padding_side: PaddingSide
) -> tuple[SequenceBatch, Callable[[SequenceBatch], Any]]:
    """Brings sequences of any form into a `SequenceBatch`.

    Args:
        inputs: Integer item ids as a dense `[batch, length]` or ragged tensor, or a
            dict of such columns. Where the item id is `PADDING_ID` there is no item.
        item_column: The key of the item ids, if `inputs` is a dict.
        padding_side: Where dense output shall be padded. `"auto"`: as the input is.

    Returns:
        The batch, and the function that brings an augmented one back into the form of
        `inputs`.

    Raises:
        ValueError: If a column has the wrong rank or other positions than the item ids,
            or `item_column` is not there.
        TypeError: If item ids are not integers, or dense and ragged columns are mixed.
    """
    columns = dict(inputs) if isinstance(inputs, Mapping) else {item_column: inputs}
    if item_column not in columns:
        raise ValueError(
            f"inputs must hold the item ids under {item_column!r} (set item_column to "
            f"change the name), but its keys are {sorted(columns)}."
        )
    columns = {name: _validated(name, column) for name, column in columns.items()}
    item_ids = columns[item_column]
    if not item_ids.dtype.is_integer or item_ids.shape.rank != 2:
        raise TypeError(
            f"Item ids (the column {item_column!r}) must be integers of shape [batch, "
            f"length], but they are {item_ids.dtype.name} of shape {item_ids.shape}. "
            "Look strings up in a vocabulary first."
        )
    ragged = isinstance(item_ids, tf.RaggedTensor)
    if any(
        isinstance(column, tf.RaggedTensor) != ragged for column in columns.values()
    ):
        raise TypeError("The columns of inputs must be all dense or all ragged.")
    columns = {
        name: _sharing_positions(name, column, item_ids)
        for name, column in columns.items()
    }

    dense = {
        name: column.to_tensor() if ragged else column
        for name, column in columns.items()
    }
    is_item = dense[item_column] != PADDING_ID
    lengths = tf.reduce_sum(tf.cast(is_item, tf.int32), axis=1)
    batch, left_padded = _items_first(
        SequenceBatch(dense, lengths, item_column), is_item
    )
    width = batch.width
    batch = batch._replace(room=None if ragged else width)

    def unpack(augmented: SequenceBatch) -> Any:
        if ragged:
            columns = {
                name: tf.RaggedTensor.from_tensor(
                    column,
                    lengths=tf.cast(augmented.lengths, item_ids.row_splits.dtype),
                )
                for name, column in augmented.columns.items()
            }
        else:
            to_left = left_padded if padding_side == "auto" else padding_side == "left"
            columns = _restore_shapes(_fit(augmented, width, to_left), dense)
        return columns if isinstance(inputs, Mapping) else columns[item_column]

    return batch, unpack


def _validated(name: str, column: Any) -> tf.Tensor | tf.RaggedTensor:
    if not isinstance(column, tf.RaggedTensor):
        column = tf.convert_to_tensor(column)
    if column.shape.rank is None or column.shape.rank < 2:
        raise ValueError(
            f"Sequences must have the shape [batch, length], but the column {name!r} "
            f"has the shape {column.shape}."
        )
    if isinstance(column, tf.RaggedTensor) and column.ragged_rank > 1:
        raise ValueError(
            f"Sequences must be ragged in their length alone, but the column {name!r} "
            f"is ragged in {column.ragged_rank} dimensions: pad the inner ones first."
        )
    return column


def _sharing_positions(
    name: str, column: tf.Tensor | tf.RaggedTensor, item_ids: tf.Tensor
) -> tf.Tensor | tf.RaggedTensor:
    """Returns a column, of which it is sure that it has the positions of the items."""
    if column is item_ids:
        return column
    message = f"The column {name!r} must have the positions of the item ids, but has"
    if not column.shape[:2].is_compatible_with(item_ids.shape[:2]):
        raise ValueError(f"{message} {column.shape[:2]} for {item_ids.shape[:2]}.")
    if isinstance(column, tf.RaggedTensor):
        rows = tf.debugging.assert_equal(
            column.nrows(), item_ids.nrows(), f"{message} another number of rows."
        )
        # Else splits of other numbers could be compared first, and the error be theirs.
        with tf.control_dependencies([rows]):
            checks = [
                tf.debugging.assert_equal(
                    tf.cast(column.row_splits, tf.int64),
                    tf.cast(item_ids.row_splits, tf.int64),
                    f"{message} others: rows of other lengths.",
                )
            ]
    elif column.shape[:2].is_fully_defined() and item_ids.shape[:2].is_fully_defined():
        checks = []
    else:
        checks = [
            tf.debugging.assert_equal(
                tf.shape(column)[:2], tf.shape(item_ids)[:2], f"{message} others."
            )
        ]
    with tf.control_dependencies(checks):
        return tf.identity(column)


def require_alike(batch: SequenceBatch, partners: SequenceBatch) -> None:
    """Makes sure that two batches can be the two views of the same sequences.

    Raises:
        ValueError: If they differ in their columns, or visibly in their rows.
    """
    dtypes, theirs = (
        {name: column.dtype.name for name, column in one.columns.items()}
        for one in (batch, partners)
    )
    if dtypes != theirs:
        raise ValueError(
            f"partners must have the columns of inputs, {dtypes}, but have {theirs}."
        )
    tf.debugging.assert_equal(
        tf.size(partners.lengths),
        tf.size(batch.lengths),
        "partners must have as many rows as inputs.",
    )


def _fitting_table(name: str, table: npt.ArrayLike, column: tf.Tensor) -> tf.Tensor:
    """Returns a table of a column's values, if that is what it is."""
    values = tf.convert_to_tensor(table)
    fits = values.dtype == column.dtype or (
        _is_number(values.dtype)
        and _is_number(column.dtype)
        # What would be cut off.
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


def _items_first(
    batch: SequenceBatch, is_item: tf.Tensor
) -> tuple[SequenceBatch, tf.Tensor]:
    """Returns the batch with all padding moved to the end of its row.

    Where it is there already, or all at the start, no search for the items is needed.

    Args:
        batch: The batch, of lengths that count the items.
        is_item: `[batch, length]`, bool, where they are.

    Returns:
        The batch, and whether any row had padding before its items.
    """

    def moved() -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        shift = (batch.width - batch.lengths)[:, tf.newaxis]
        columns = tf.cond(
            tf.reduce_all(is_item == (batch.positions >= shift)),
            lambda: _take(batch.columns, batch.positions + shift, batch.is_item),
            lambda: batch.keep(is_item).columns,
        )
        starts_with_padding = ~is_item[:, :1] & (batch.lengths > 0)[:, tf.newaxis]
        return columns, tf.reduce_any(starts_with_padding)

    columns, left_padded = tf.cond(
        tf.reduce_all(is_item == batch.is_item),
        lambda: (batch.columns, tf.constant(False)),
        moved,
    )
    columns = _restore_shapes(columns, batch.columns)
    return batch._replace(columns=columns), left_padded


def _fit(
    batch: SequenceBatch, width: tf.Tensor, to_left: bool | tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns columns of a width: the most recent items, and padding on a side."""

    def moved() -> dict[str, tf.Tensor]:
        surplus = batch.lengths - width
        shift = tf.where(to_left, surplus, tf.maximum(surplus, 0))[:, tf.newaxis]
        source = tf.range(width)[tf.newaxis] + shift
        is_item = (source >= 0) & (source < batch.lengths[:, tf.newaxis])
        return _take(batch.columns, source, is_item)

    # Told apart so that nothing is moved where nothing needs to be.
    return tf.cond(
        tf.logical_not(to_left) & (batch.width == width),
        lambda: {name: column[:, :width] for name, column in batch.columns.items()},
        moved,
    )


def _width(column: tf.Tensor) -> tf.Tensor:
    """Returns the number of positions, as a constant if it is known.

    What depends on it alone is then computed when the graph is built.
    """
    known = column.shape[1]
    return tf.shape(column)[1] if known is None else tf.constant(known)


def _pad(column: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Returns a column with so many positions more."""
    paddings = [[0, 0], [0, positions]] + [[0, 0]] * (column.shape.rank - 2)
    return tf.pad(column, paddings, constant_values=tf.zeros([], column.dtype))


def _take(
    columns: Mapping[str, tf.Tensor], source: tf.Tensor, valid: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns the positions `source` of each row, and padding where not `valid`.

    Args:
        columns: Each `[batch, length, ...]`.
        source: `[batch, new length]`, int32; anything where not `valid`.
        valid: `[batch, new length]`, bool.
    """
    source = tf.where(valid, source, 0)
    return {
        name: _where(valid, _gather(column, source)) for name, column in columns.items()
    }


def _gather(column: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
    """Returns the positions `source` of each row.

    Args:
        column: `[batch, length, ...]`.
        source: `[batch, new length]`, int32, from 0 to `length - 1`.
    """
    # With the positions of all rows in one dimension, which is faster to index.
    flat = tf.reshape(column, tf.concat([[-1], tf.shape(column)[2:]], axis=0))
    rows = tf.range(tf.shape(column)[0])[:, tf.newaxis]
    return look_up(flat, source + rows * _width(column))


def look_up(table: npt.ArrayLike | tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns rows of a table: as `tf.gather`, in two thirds of its time."""
    return tf.gather_nd(table, rows[..., tf.newaxis])


def _restore_shapes(
    columns: Mapping[str, tf.Tensor], like: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns columns with the static shapes of others, which conditions lose."""
    return {
        name: tf.ensure_shape(column, like[name].shape)
        for name, column in columns.items()
    }


def _where(condition: tf.Tensor, column: tf.Tensor, otherwise: Any = None) -> tf.Tensor:
    """Returns `column` where `condition` holds, and `otherwise` (or padding) elsewhere.

    Args:
        condition: `[batch, length]`, bool.
        column: `[batch, length, ...]`.
        otherwise: Of the shape of `column`, or a scalar.
    """
    rank = column.shape.rank
    if rank > 2:
        condition = tf.reshape(
            condition, tf.concat([tf.shape(condition), [1] * (rank - 2)], axis=0)
        )
    if otherwise is None:
        otherwise = tf.zeros_like(column)
    return tf.where(condition, column, tf.convert_to_tensor(otherwise, column.dtype))
