"""The forms in which a request may hold histories, as dense rows of raw items."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrs_barlow.ids import PADDING_ID
from tfrs_barlow.serving.items import ItemTable, require


class RequestOptions(NamedTuple):
    """What a request may say in addition to its histories.

    Attributes:
        k: `[]`, `[1]` or `[batch]`, how many items to return.
        excluded: `[batch or 1, any]`, raw items to leave out.
        exclude_history: Booleans of the shapes of `k`: whether to leave out the items
            of the history, too.
    """

    k: tf.Tensor
    excluded: tf.Tensor
    exclude_history: tf.Tensor


def most_recent(ids: tf.Tensor, max_length: int) -> tf.Tensor:
    """Returns the last `max_length` items of each row, padded on the right.

    The result is `[batch, max_length]` whatever else is in the batch, so the embedding
    of a history never depends on the others, even if the tower's depends on padding.
    """
    items = tf.ragged.boolean_mask(ids, ids != PADDING_ID)[:, -max_length:]
    return items.to_tensor(PADDING_ID, shape=[None, max_length])


def from_ragged(
    values: tf.Tensor, row_lengths: tf.Tensor, items: ItemTable
) -> tf.Tensor:
    """Returns ragged histories as dense rows `[batch, longest]`, padded on the right.

    Raises:
        tf.errors.InvalidArgumentError: If `row_lengths` hold a negative number, or do
            not add up to the number of `values`.
    """
    size, total = tf.size(values, tf.int64), tf.reduce_sum(row_lengths)
    lengths = require(
        row_lengths,
        # A sum of large numbers can overflow into the right one.
        tf.reduce_all((row_lengths >= 0) & (row_lengths <= size)) & (total == size),
        "row_lengths must be 0 or more and add up to the number of values,",
        *(tf.size(values), "but they are", row_lengths),
    )
    ragged = tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)
    return ragged.to_tensor(items.blank)


def from_examples(
    examples: tf.Tensor, items: ItemTable, defaults: RequestOptions
) -> tuple[tf.Tensor, RequestOptions]:
    """Returns the histories and options in `[batch]` serialized `tf.train.Example`s.

    The features have the names of the inputs of the signature `recommend`, and each may
    be missing: `history` and `excluded` are lists of items, `k` is one integer,
    `exclude_history` is 0 or 1.

    Raises:
        tf.errors.InvalidArgumentError: If a string is not a `tf.train.Example`, or a
            feature in it has another type.
    """
    several = tf.io.RaggedFeature(items.dtype, row_splits_dtype=tf.int64)
    features = tf.io.parse_example(
        examples,
        {
            "history": several,
            "excluded": several,
            "k": tf.io.FixedLenFeature([], tf.int64, tf.cast(defaults.k, tf.int64)),
            "exclude_history": tf.io.FixedLenFeature(
                [], tf.int64, tf.cast(defaults.exclude_history, tf.int64)
            ),
        },
    )
    options = RequestOptions(
        k=features["k"],
        excluded=features["excluded"].to_tensor(items.blank),
        exclude_history=features["exclude_history"] != 0,
    )
    return features["history"].to_tensor(items.blank), options
