"""Items as users know them, found and named inside a TensorFlow graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_barlow.data import Vocabulary
from tfrs_barlow.ids import FIRST_ITEM_ID, OUT_OF_VOCABULARY_ID, PADDING_ID

NOWHERE = -1
"""The position of an item that a table does not hold, and of padding."""


class ItemTable(tf.Module):
    """Items in a fixed order, from raw item to position and back.

    Raw padding is `""` for strings. For integers it is every negative number, and 0
    unless the table holds 0.

    The items are a variable, so they are stored outside the graph of a SavedModel: the
    graph is limited to two gigabytes, and the items can be replaced without it.

    Examples:
        >>> table = ItemTable(tfrsb.data.Vocabulary(["Alien", "Brazil"]))
        >>> table.find(tf.constant([["Brazil", "", "Dune"]])).numpy()
        array([[ 1, -1, -1]], dtype=int32)
        >>> table.encode(tf.constant([["Brazil", "", "Dune"]])).numpy()
        array([[4, 0, 2]], dtype=int32)
        >>> table.name_of(tf.constant([1, -1])).numpy()
        array([b'Brazil', b''], dtype=object)
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        tokens = tokens_of("vocabulary", vocabulary)
        self.dtype = tf.string if tokens.dtype == object else tf.int64
        self.tokens = tf.Variable(
            tokens, trainable=False, dtype=self.dtype, shape=[None], name="tokens"
        )
        self._positions = tf.lookup.StaticHashTable(
            _PositionsOf(self.tokens), default_value=NOWHERE
        )

    @property
    def blank(self) -> tf.Tensor:
        """What stands for no item: `""` or -1."""
        return tf.constant("" if self.dtype == tf.string else -1, self.dtype)

    @property
    def size(self) -> tf.Tensor:
        """The number of items."""
        return tf.shape(self.tokens)[0]

    def find(self, items: tf.Tensor) -> tf.Tensor:
        """Returns the int32 positions of raw `items`, or `NOWHERE`, in their shape."""
        return self._positions.lookup(items)

    def encode(self, items: tf.Tensor) -> tf.Tensor:
        """Returns the int32 ids of raw `items`, padding and unknown ones included."""
        positions = self.find(items)
        padding = items == "" if self.dtype == tf.string else items <= 0
        absent = tf.where(padding, PADDING_ID, OUT_OF_VOCABULARY_ID)
        return tf.where(positions == NOWHERE, absent, positions + FIRST_ITEM_ID)

    def name_of(self, positions: tf.Tensor) -> tf.Tensor:
        """Returns the raw items at `positions`: a blank (`""` or -1) for `NOWHERE`."""
        items = tf.gather(self.tokens, tf.maximum(positions, 0))
        return tf.where(positions == NOWHERE, self.blank, items)


def require(value: tf.Tensor, condition: tf.Tensor, *message: Any) -> tf.Tensor:
    """Returns `value` in a graph, or an INVALID_ARGUMENT with the message."""
    check = tf.debugging.Assert(condition, [*message], summarize=8)
    with tf.control_dependencies([check]):
        return tf.identity(value)


class _PositionsOf(tf.lookup.KeyValueTensorInitializer):
    """Fills a table from a variable, when the variable has been restored."""

    def __init__(self, tokens: tf.Variable) -> None:
        super().__init__(tf.zeros([0], tokens.dtype), tf.zeros([0], tf.int32))
        self._tokens = tokens

    def initialize(self, table: Any) -> Any:
        return tf.raw_ops.LookupTableImportV2(
            table_handle=table.resource_handle,
            keys=self._tokens,
            values=tf.range(tf.shape(self._tokens)[0]),
        )


def tokens_of(name: str, vocabulary: Vocabulary) -> np.ndarray:
    """Returns the items of an argument as int64 or, for strings, as objects."""
    if not isinstance(vocabulary, Vocabulary):
        raise TypeError(
            f"{name} must be a tfrsb.data.Vocabulary, but it is a "
            f"{type(vocabulary).__name__}."
        )
    tokens = vocabulary.tokens
    if isinstance(tokens[0], str):
        if "" in tokens:
            raise ValueError(f'{name} must not hold "", which stands for padding.')
        return tokens
    if min(tokens) < 0:
        raise ValueError(
            f"{name} must not hold {min(tokens)}: negative numbers stand for padding."
        )
    return tokens.astype(np.int64)
