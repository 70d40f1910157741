"""From inputs of any form to a `SequenceBatch`, and back into their form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import tensorflow as tf

from tfrs_barlow.ids import PADDING_ID
from tfrs_barlow.layers.augmentation import row_ops
from tfrs_barlow.layers.augmentation.sequence_batch import SequenceBatch

PaddingSide = Literal["auto", "left", "right"]


def pack(
    inputs: Any, item_column: str, padding_side: PaddingSide
) -> tuple[SequenceBatch, Callable[[SequenceBatch], Any]]:
    """Brings sequences of any form into a `SequenceBatch`.

    Args:
        inputs: Integer item ids as a dense `[batch, length]` or ragged tensor, or a
            dict of such columns. Where the item id is `PADDING_ID` there is no item.
        item_column: The key of the item ids, if `inputs` is a dict.
        padding_side: Where dense output is padded. `"auto"`: where the input is.

    Returns:
        The batch, and the function that brings an augmented one back into the form of
        `inputs`.

    Raises:
        ValueError: If a column has the wrong rank or other positions than the item ids,
            or `item_column` is missing.
        TypeError: If item ids are not integers, or dense and ragged columns are mixed.
    """
    columns = _checked_columns(inputs, item_column)
    item_ids = columns[item_column]
    ragged = isinstance(item_ids, tf.RaggedTensor)
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
    batch = batch._replace(max_width=None if ragged else width)

    def unpack(augmented: SequenceBatch) -> Any:
        if ragged:
            lengths = tf.cast(augmented.lengths, item_ids.row_splits.dtype)
            columns = {
                name: tf.RaggedTensor.from_tensor(column, lengths=lengths)
                for name, column in augmented.columns.items()
            }
        else:
            to_left = left_padded if padding_side == "auto" else padding_side == "left"
            columns = _restore_shapes(_fit(augmented, width, to_left), dense)
        return columns if isinstance(inputs, Mapping) else columns[item_column]

    return batch, unpack


def require_alike(batch: SequenceBatch, partners: SequenceBatch) -> None:
    """Makes sure that two batches can be the two views of the same sequences."""
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


def _checked_columns(
    inputs: Any, item_column: str
) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Returns the columns, which are of one form and share their positions."""
    columns = dict(inputs) if isinstance(inputs, Mapping) else {item_column: inputs}
    if item_column not in columns:
        raise ValueError(
            f"inputs must hold the item ids under {item_column!r} (set item_column to "
            f"change the name), but its keys are {sorted(columns)}."
        )
    columns = {name: _checked_column(name, column) for name, column in columns.items()}
    item_ids = columns[item_column]
    if not item_ids.dtype.is_integer or item_ids.shape.rank != 2:
        raise TypeError(
            f"Item ids (the column {item_column!r}) must be integers of shape [batch, "
            f"length], but they are {item_ids.dtype.name} of shape {item_ids.shape}. "
            "Look strings up in a vocabulary first."
        )
    if len({isinstance(column, tf.RaggedTensor) for column in columns.values()}) > 1:
        raise TypeError("The columns of inputs must be all dense or all ragged.")
    return {
        name: _sharing_positions(name, column, item_ids)
        for name, column in columns.items()
    }


def _checked_column(name: str, column: Any) -> tf.Tensor | tf.RaggedTensor:
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
    """Returns a column after checking that it has the positions of the item ids."""
    if column is item_ids:
        return column
    message = f"The column {name!r} must have the positions of the item ids, but has"
    ours, theirs = column.shape[:2], item_ids.shape[:2]
    if not ours.is_compatible_with(theirs):
        raise ValueError(f"{message} {ours} for {theirs}.")
    if isinstance(column, tf.RaggedTensor):
        rows = tf.debugging.assert_equal(
            column.nrows(), item_ids.nrows(), f"{message} another number of rows."
        )
        # Otherwise splits of different sizes could be compared first, and raise.
        with tf.control_dependencies([rows]):
            checks = [
                tf.debugging.assert_equal(
                    tf.cast(column.row_splits, tf.int64),
                    tf.cast(item_ids.row_splits, tf.int64),
                    f"{message} others: rows of other lengths.",
                )
            ]
    elif ours.is_fully_defined() and theirs.is_fully_defined():
        checks = []
    else:
        checks = [
            tf.debugging.assert_equal(
                tf.shape(column)[:2], tf.shape(item_ids)[:2], f"{message} others."
            )
        ]
    with tf.control_dependencies(checks):
        return tf.identity(column)


def _items_first(
    batch: SequenceBatch, is_item: tf.Tensor
) -> tuple[SequenceBatch, tf.Tensor]:
    """Moves all padding to the end of its row.

    Also returns whether any row had padding before its items. If all padding is at the
    end already, or all at the start, the items need not be searched for.
    """

    def moved() -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        shift = (batch.width - batch.lengths)[:, tf.newaxis]
        columns = tf.cond(
            tf.reduce_all(is_item == (batch.positions >= shift)),
            lambda: row_ops.take(batch.columns, batch.positions + shift, batch.is_item),
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
        return row_ops.take(batch.columns, source, is_item)

    # Nothing is moved where nothing needs to be.
    return tf.cond(
        tf.logical_not(to_left) & (batch.width == width),
        lambda: {name: column[:, :width] for name, column in batch.columns.items()},
        moved,
    )


def _restore_shapes(
    columns: Mapping[str, tf.Tensor], like: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns columns with the static shapes of others, which conditions lose."""
    return {
        name: tf.ensure_shape(column, like[name].shape)
        for name, column in columns.items()
    }
