"""The forms in which a request may hold histories, as dense rows of raw items."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfrs_barlow.serving.items import ItemTable


def from_ragged(
    values: tf.Tensor, row_lengths: tf.Tensor, items: ItemTable
) -> tf.Tensor:
    """Returns ragged histories as dense rows, padded on the right.

    Args:
        values: The items of all histories, one after the other: of shape [items].
        row_lengths: int64 of shape [batch], how many of them each history has.
        items: Says what stands for padding.

    Returns:
        Raw items of shape [batch, longest].

    Raises:
        tf.errors.InvalidArgumentError: If `row_lengths` hold a negative number, or do
            not add up to the number of `values`.

    Example:
        >>> items = ItemTable(tfrsb.data.Vocabulary(["a", "b"]))
        >>> from_ragged(tf.constant(["a", "b", "b"]), tf.constant([1, 0, 2]), items)
        <tf.Tensor: shape=(3, 2), dtype=string, numpy=
        array([[b'a', b''],
               [b'', b''],
               [b'b', b'b']], dtype=object)>
    """
    total = tf.reduce_sum(tf.cast(row_lengths, tf.int64))
    fits = tf.debugging.Assert(
        tf.reduce_all(row_lengths >= 0) & (total == tf.size(values, tf.int64)),
        [
            "row_lengths must be 0 or more and add up to the number of values,",
            tf.size(values),
            "but they are",
            row_lengths,
        ],
        summarize=8,
    )
    with tf.control_dependencies([fits]):
        lengths = tf.identity(row_lengths)
    ragged = tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)
    return ragged.to_tensor(items.blank)


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a request says beside the histories, one value a row or one for all.

    Attributes:
        k: Integers, how many items are wanted.
        excluded: Raw items of shape [batch or 1, any] that are not.
        exclude_history: Booleans, whether the items of the history are not either.
    """

    k: tf.Tensor
    excluded: tf.Tensor
    exclude_history: tf.Tensor


def from_examples(
    examples: tf.Tensor, items: ItemTable, defaults: Wish
) -> tuple[tf.Tensor, Wish]:
    """Returns the histories in serialized `tf.train.Example`s, and the wishes.

    The features are named as the inputs of the signature `recommend` are, and all of
    them may be missing: `history` and `excluded` are lists of items, `k` one integer,
    `exclude_history` 0 or 1.

    Args:
        examples: Strings of shape [batch].
        items: Says of which type the items are.
        defaults: What holds where a feature is missing.

    Raises:
        tf.errors.InvalidArgumentError: If a string is no `tf.train.Example`, or a
            feature in it has another type.

    Example:
        >>> example = tf.train.Example()
        >>> example.features.feature["history"].bytes_list.value.extend([b"a", b"b"])
        >>> history, wish = from_examples(
        ...     tf.constant([example.SerializeToString(), b""]),
        ...     ItemTable(tfrsb.data.Vocabulary(["a", "b"])),
        ...     Wish(tf.constant(7), tf.constant([[""]]), tf.constant(True)),
        ... )
        >>> history.numpy()
        array([[b'a', b'b'],
               [b'', b'']], dtype=object)
        >>> wish.k.numpy(), wish.exclude_history.numpy()
        (array([7, 7]), array([ True,  True]))
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
    wish = Wish(
        k=features["k"],
        excluded=features["excluded"].to_tensor(items.blank),
        exclude_history=features["exclude_history"] != 0,
    )
    return features["history"].to_tensor(items.blank), wish
