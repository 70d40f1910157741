"""Training batches out of user sequences, in memory or in files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import tensorflow as tf

from tfrs_barlow.data.records.folder import RecordFolder, open_folder
from tfrs_barlow.data.records.reading import parse_items, shuffled_records
from tfrs_barlow.data.sequences import UserSequences
from tfrs_barlow.ids import PADDING_ID

Layout = Literal["padded", "bucketed", "ragged"]
"""How the histories of a batch lie in a tensor."""

_STEPS_SORTED = 16
_WIDTHS = 8


def training_batches(
    sequences: UserSequences | str | os.PathLike[str],
    *,
    batch_size: int,
    length: int,
    layout: Layout = "padded",
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
        sequences: The sequences, or a folder that `write_sequences` has written. Those
            of a folder need not fit into memory: they are read anew in each epoch, and
            shuffled among 16,384 users of up to 16 shards.
        batch_size: The rows of a batch, at least 1.
        length: The columns of a history, at least 1: the most recent items are kept.
        layout: `"padded"` to `length`; `"ragged"`; or `"bucketed"`: histories of like
            length share a batch, which is padded to one of eight widths up to
            `length`. To that end 16 batches at a time are sorted by length, and come
            in random order. This saves work, but a batch is no random sample of the
            users any more: a loss that compares the rows of a batch can tell.
        seed: Fixes the orders and the drawn labels.
        first_step: The number of the first batch. What a folder holds before it in its
            epoch is read and passed over.

    Returns:
        A dataset of dicts: `"history"`, int32, oldest first, `[batch_size, length]` and
        padded on the right with `PADDING_ID`, or as `layout` says; `"label"`,
        `[batch_size]`, int32.

    Raises:
        ValueError: If `batch_size` or `length` is less than 1, `layout` is unknown, or
            no user has two events.
        FileNotFoundError: If there is no such folder.
        MalformedFileError: If the folder is incomplete or a file has another length.
        tf.errors.InvalidArgumentError: While batches are read, if a file is damaged.
    """
    for name, value in (("batch_size", batch_size), ("length", length)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but it is {value}.")
    if layout not in get_args(Layout):
        raise ValueError(
            f"layout must be one of {get_args(Layout)}, but it is {layout!r}."
        )
    if isinstance(sequences, UserSequences):
        usable = sequences.select(sequences.lengths >= 2)
        users = len(usable)
    else:
        folder = open_folder(sequences)
        users = folder.manifest.trainable_users
    if users == 0:
        raise ValueError("sequences must hold a user with at least two events.")
    windows = _Windows(batch_size, length, layout, seed)
    if isinstance(sequences, UserSequences):
        batches = _from_memory(usable, windows, first_step)
    else:
        batches = _from_folder(folder, windows, first_step)
    return batches.prefetch(2)


def endless_steps(first_step: int | tf.Variable) -> tf.data.Dataset:
    """Returns the numbers of all steps from a first one on, int64.

    A variable is read each time an iteration begins, not when the dataset is made.
    """
    return _from(first_step, lambda first: tf.data.Dataset.range(first, tf.int64.max))


def _from(
    first_step: int | tf.Variable, make: Callable[[tf.Tensor], tf.data.Dataset]
) -> tf.data.Dataset:
    """Makes a dataset from a first step, read each time an iteration begins."""

    def dataset(_: tf.Tensor) -> tf.data.Dataset:
        return make(tf.cast(tf.identity(first_step), tf.int64))

    return tf.data.Dataset.range(1).flat_map(dataset)


class _Histories(NamedTuple):
    """Histories, each with the item that follows, as stretches of one array.

    Attributes:
        item_ids: `[events]`, the items of all users.
        starts: `[rows]`, the first event of each history.
        labels: `[rows]`, the event behind its last one.
    """

    item_ids: tf.Tensor
    starts: tf.Tensor
    labels: tf.Tensor


class _Windows:
    """Makes batches out of visits to users.

    A window is the visits that are looked at together: those of one batch, or of
    several where they are to be sorted by length.
    """

    def __init__(self, batch_size: int, length: int, layout: Layout, seed: int) -> None:
        self.steps = _STEPS_SORTED if layout == "bucketed" else 1
        self.visits = batch_size * self.steps
        self.seed = seed
        self._batch_size, self._length, self._layout = batch_size, length, layout

    def draw(
        self,
        window: tf.Tensor,
        item_ids: tf.Tensor,
        starts: tf.Tensor,
        ends: tf.Tensor,
    ) -> _Histories:
        """Draws a label for each visit, and with it the history before the label.

        Args:
            window: The number of the window.
            item_ids: `[events]`, the items of all users.
            starts: `[visits]`, the first event of each visited user.
            ends: `[visits]`, the event behind the user's last one.
        """
        uniform = tf.random.stateless_uniform(
            [self.visits], self._seed(window), dtype=tf.float64
        )
        choices = tf.cast(ends - starts - 1, tf.float64)
        labels = starts + 1 + tf.cast(tf.floor(uniform * choices), tf.int64)
        return _Histories(item_ids, tf.maximum(starts, labels - self._length), labels)

    def batch(
        self, step: tf.Tensor, histories: _Histories
    ) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Returns the batch of a step out of the window in which it lies."""
        if self._layout == "bucketed":
            histories = self._of_like_length(step, histories)
        item_ids, starts, labels = histories
        if self._layout == "ragged":
            events = tf.ragged.range(starts, labels)
            history = events.with_values(tf.gather(item_ids, events.values))
        else:
            history = _padded(histories, self._width(histories))
        if self._layout == "padded":
            history = tf.ensure_shape(history, [self._batch_size, self._length])
        return {"history": history, "label": tf.gather(item_ids, labels)}

    def _of_like_length(self, step: tf.Tensor, histories: _Histories) -> _Histories:
        """Chooses the rows of a step, of all that were sorted by length."""
        item_ids, starts, labels = histories
        by_length = tf.argsort(labels - starts, stable=True)
        places = tf.random.experimental.stateless_shuffle(
            tf.range(self.steps, dtype=tf.int64), self._seed(step // self.steps)
        )
        first = places[step % self.steps] * self._batch_size
        rows = by_length[first : first + self._batch_size]
        rows = tf.ensure_shape(rows, [self._batch_size])
        return _Histories(item_ids, tf.gather(starts, rows), tf.gather(labels, rows))

    def _width(self, histories: _Histories) -> tf.Tensor:
        """Returns how many columns a batch has."""
        length = tf.constant(self._length, tf.int64)
        if self._layout == "padded":
            return length
        longest = tf.reduce_max(histories.labels - histories.starts)
        unit = -(-length // _WIDTHS)
        return tf.minimum(-(-longest // unit) * unit, length)

    def _seed(self, window: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.constant(self.seed, tf.int64), window])


def _padded(histories: _Histories, width: tf.Tensor) -> tf.Tensor:
    """Looks up histories: `[rows, width]`."""
    item_ids, starts, labels = histories
    events = starts[:, tf.newaxis] + tf.range(width)
    in_history = events < labels[:, tf.newaxis]
    items = tf.gather(item_ids, tf.where(in_history, events, 0))
    return tf.where(in_history, items, PADDING_ID)


def _from_memory(
    sequences: UserSequences, windows: _Windows, first_step: int | tf.Variable
) -> tf.data.Dataset:
    """Returns the batches of users who all have two events or more."""
    item_ids = tf.constant(sequences.item_ids)
    starts = tf.constant(sequences.row_splits[:-1])
    ends = tf.constant(sequences.row_splits[1:])
    users = len(sequences)
    seed = tf.constant(windows.seed, tf.int64)

    def batch(step: tf.Tensor) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        window = step // windows.steps
        visits = window * windows.visits + tf.range(windows.visits, dtype=tf.int64)
        epochs = visits // users
        # The raw operation, since `tf.random.experimental.index_shuffle` takes one seed
        # for all rows, and a batch may reach from one epoch into the next.
        user = tf.raw_ops.RandomIndexShuffle(
            index=visits % users,
            seed=tf.stack([tf.fill([windows.visits], seed), epochs, epochs], axis=1),
            max_index=tf.constant(users - 1, tf.int64),
        )
        histories = windows.draw(
            window, item_ids, tf.gather(starts, user), tf.gather(ends, user)
        )
        return windows.batch(step, histories)

    return endless_steps(first_step).map(batch, num_parallel_calls=tf.data.AUTOTUNE)


def _from_folder(
    folder: RecordFolder, windows: _Windows, first_step: int | tf.Variable
) -> tf.data.Dataset:
    """Returns the batches of written sequences."""

    def parse(window: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, _Histories]:
        items = parse_items(records)
        splits = items.row_splits
        return window, windows.draw(window, items.values, splits[:-1], splits[1:])

    def batches(window: tf.Tensor, histories: _Histories) -> tf.data.Dataset:
        first = window * windows.steps
        steps = tf.data.Dataset.range(first, first + windows.steps)
        return steps.map(lambda step: windows.batch(step, histories))

    def stream(first: tf.Tensor) -> tf.data.Dataset:
        window = first // windows.steps
        records = shuffled_records(folder, windows.seed, window * windows.visits)
        parsed = (
            records.rebatch(windows.visits, drop_remainder=True)
            .enumerate(window)
            .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        )
        if windows.steps == 1:
            return parsed.map(windows.batch, num_parallel_calls=tf.data.AUTOTUNE)
        return parsed.flat_map(batches).skip(first % windows.steps)

    return _from(first_step, stream)
