"""Training batches out of user sequences in memory."""

from __future__ import annotations

import tensorflow as tf

from tfrs_barlow.data.sequences import UserSequences
from tfrs_barlow.data.vocabulary import PADDING_ID


def training_batches(
    sequences: UserSequences,
    *,
    batch_size: int,
    length: int,
    seed: int = 0,
    first_step: int | tf.Variable = 0,
) -> tf.data.Dataset:
    """Returns an endless stream of batches: histories, each with the item that follows.

    An epoch visits every user with at least two events once, in an order of its own.
    At each visit one event other than the first is drawn as the label; the events
    before it are the history. Batches are always full: they run on from one epoch into
    the next.

    Every batch is a pure function of `seed` and its step. A run that was interrupted
    goes on exactly where it stopped if `first_step` is the variable that counts its
    steps, `optimizer.iterations`: it is read each time an iteration over the dataset
    begins.

    Example:
        >>> sequences = tfrsb.data.UserSequences(
        ...     user_ids=np.array(["ann", "bob"]),
        ...     item_ids=np.array([5, 3, 4, 9], np.int32),
        ...     timestamps=np.array([10, 20, 15, 30]),
        ...     row_splits=np.array([0, 2, 4]),
        ... )
        >>> batches = tfrsb.data.training_batches(sequences, batch_size=2, length=3)
        >>> batch = next(iter(batches))
        >>> np.sort(batch["label"])
        array([3, 9], dtype=int32)
        >>> batch["history"].shape
        TensorShape([2, 3])

    Args:
        sequences: The sequences.
        batch_size: The rows of a batch, at least 1.
        length: The columns of a history, at least 1: the most recent items are kept.
        seed: Fixes the orders and the drawn labels.
        first_step: The number of the first batch.

    Returns:
        A dataset of dicts: `"history"`, `[batch_size, length]`, int32, padded on the
        right with `PADDING_ID`; `"label"`, `[batch_size]`, int32.

    Raises:
        ValueError: If `batch_size` or `length` is less than 1, or no user has two
            events.
    """
    for name, value in (("batch_size", batch_size), ("length", length)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but it is {value}.")
    usable = sequences.select(sequences.lengths >= 2)
    if len(usable) == 0:
        raise ValueError("sequences must hold a user with at least two events.")
    item_ids = tf.constant(usable.item_ids)
    starts = tf.constant(usable.row_splits[:-1])
    ends = tf.constant(usable.row_splits[1:])
    users = len(usable)
    seed64 = tf.constant(seed, tf.int64)

    def batch(step: tf.Tensor) -> dict[str, tf.Tensor]:
        visits = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        epochs = visits // users
        # The raw operation, since `tf.random.experimental.index_shuffle` takes one seed
        # for all rows, and a batch may reach from one epoch into the next.
        user = tf.raw_ops.RandomIndexShuffle(
            index=visits % users,
            seed=tf.stack([tf.fill([batch_size], seed64), epochs, epochs], axis=1),
            max_index=tf.constant(users - 1, tf.int64),
        )
        start, end = tf.gather(starts, user), tf.gather(ends, user)
        uniform = tf.random.stateless_uniform(
            [batch_size], tf.stack([seed64, step]), dtype=tf.float64
        )
        choices = tf.cast(end - start - 1, tf.float64)
        label = start + 1 + tf.cast(tf.floor(uniform * choices), tf.int64)
        first = tf.maximum(start, label - length)
        positions = first[:, tf.newaxis] + tf.range(length, dtype=tf.int64)
        in_history = positions < label[:, tf.newaxis]
        history = tf.gather(item_ids, tf.where(in_history, positions, 0))
        return {
            "history": tf.where(in_history, history, PADDING_ID),
            "label": tf.gather(item_ids, label),
        }

    steps = endless_steps(first_step)
    return steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def endless_steps(first_step: int | tf.Variable) -> tf.data.Dataset:
    """Returns the numbers of all steps from a first one on, int64.

    A variable is read each time an iteration begins, not when the dataset is made.
    """

    def steps(_: tf.Tensor) -> tf.data.Dataset:
        first = tf.cast(tf.identity(first_step), tf.int64)
        return tf.data.Dataset.range(first, tf.int64.max)

    return tf.data.Dataset.range(1).flat_map(steps)
