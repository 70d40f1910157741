"""Training batches of user sequences, in memory or in files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.data.records.folder import RecordFolder, open_folder
from tfrs_barlow.data.records.reading import parse_items, shuffled_records
from tfrs_barlow.data.sequences import UserSequences
from tfrs_barlow.ids import PADDING_ID

Layout = Literal["padded", "bucketed", "ragged"]
"""The forms that the histories of a batch can have."""

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

    An epoch visits every user with at least two events once, in a new random order.
    Each visit draws one event other than the first as the label; the events before it
    are the history. All batches are full: they continue from one epoch into the next.

    Every batch is a pure function of `seed` and its step. To resume an interrupted run
    where it stopped, pass the variable that counts its steps, `optimizer.iterations`,
    as `first_step`: it is read each time an iteration over the dataset begins.

    Args:
        sequences: The sequences, or a folder that `write_sequences` has written. Those
            of a folder need not fit into memory: they are read again in each epoch, and
            shuffled among 16,384 users of up to 16 shards.
        batch_size: The rows of a batch.
        length: The columns of a history: the most recent items are kept.
        layout: `"padded"` to `length`; `"ragged"`; or `"bucketed"`: histories of
            similar length share a batch, which is padded to one of eight widths up to
            `length`. For this, 16 batches at a time are sorted by length, and come in
            random order. This saves work, but a batch is no longer a random sample of
            the users, which can change a loss that compares the rows of a batch.
        seed: Determines the orders and the labels.
        first_step: The number of the first batch. For a folder, the records before it
            in its epoch are read and skipped.

    Returns:
        A dataset of dicts: `"history"`, int32, oldest first, `[batch_size, length]` and
        padded on the right with `PADDING_ID`, or as `layout` says; `"label"`,
        `[batch_size]`, int32.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `batch_size` or `length` is less than 1, `first_step` is
            negative, `layout` is unknown, or no user has two events.
        FileNotFoundError: If there is no such folder.
        MalformedFileError: If the folder is incomplete or a file has another length.
        tf.errors.InvalidArgumentError: While batches are read, if a file is damaged.

    Examples:
        >>> sequences = tfrsb.data.UserSequences.from_lists(
        ...     {"ann": [5, 3], "bob": [4, 9]}
        ... )
        >>> batches = tfrsb.data.training_batches(sequences, batch_size=2, length=3)
        >>> batch = next(iter(batches))
        >>> np.sort(batch["label"])
        array([3, 9], dtype=int32)
        >>> batch["history"].shape
        TensorShape([2, 3])
    """
    windows = _Windows(
        _checks.integer("batch_size", batch_size, at_least=1),
        _checks.integer("length", length, at_least=1),
        _checks.one_of("layout", layout, get_args(Layout)),
        _checks.integer("seed", seed),
    )
    first_step = checked_first_step(first_step)
    if isinstance(sequences, UserSequences):
        batches = _from_memory(sequences, windows, first_step)
    elif isinstance(sequences, str | os.PathLike):
        batches = _from_folder(open_folder(sequences), windows, first_step)
    else:
        raise TypeError(
            f"sequences must be UserSequences or a folder, but they are {sequences!r}."
        )
    return batches.prefetch(2)


def checked_first_step(first_step: int | tf.Variable) -> int | tf.Variable:
    """Returns the number of the first batch, or the variable that holds it."""
    if isinstance(first_step, tf.Variable):
        return first_step
    return _checks.integer("first_step", first_step, at_least=0)


def endless_steps(first_step: int | tf.Variable) -> tf.data.Dataset:
    """Returns the numbers of all steps from a first one on, int64."""
    return _from(first_step, lambda first: tf.data.Dataset.range(first, tf.int64.max))


def _from(
    first_step: int | tf.Variable, make: Callable[[tf.Tensor], tf.data.Dataset]
) -> tf.data.Dataset:
    """Makes a dataset from a first step, read each time an iteration begins."""

    def dataset(_: tf.Tensor) -> tf.data.Dataset:
        return make(tf.cast(tf.identity(first_step), tf.int64))

    return tf.data.Dataset.range(1).flat_map(dataset)


class _Histories(NamedTuple):
    """Histories as spans of one array: the first event of each, and its label's."""

    item_ids: tf.Tensor
    starts: tf.Tensor
    labels: tf.Tensor


class _Windows:
    """Makes batches from visits to users.

    A window is the visits of one batch, or of several that are sorted by length.
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
        """Draws a label for each visit; `starts` and `ends` bound the user's events."""
        uniform = tf.random.stateless_uniform(
            [self.visits], self._seed(window), dtype=tf.float64
        )
        choices = tf.cast(ends - starts - 1, tf.float64)
        labels = starts + 1 + tf.cast(tf.floor(uniform * choices), tf.int64)
        return _Histories(item_ids, tf.maximum(starts, labels - self._length), labels)

    def batch(
        self, step: tf.Tensor, histories: _Histories
    ) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Returns the batch of a step from the window of that step."""
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
        """Returns the rows of a step from those of its window, sorted by length."""
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
        """Returns the number of columns of a batch."""
        length = tf.constant(self._length, tf.int64)
        if self._layout == "padded":
            return length
        longest = tf.reduce_max(histories.labels - histories.starts)
        unit = -(-length // _WIDTHS)
        return tf.minimum(-(-longest // unit) * unit, length)

    def _seed(self, window: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.constant(self.seed, tf.int64), window])


def _padded(histories: _Histories, width: tf.Tensor) -> tf.Tensor:
    """Returns the items of histories: `[rows, width]`."""
    item_ids, starts, labels = histories
    events = starts[:, tf.newaxis] + tf.range(width)
    in_history = events < labels[:, tf.newaxis]
    items = tf.gather(item_ids, tf.where(in_history, events, 0))
    return tf.where(in_history, items, PADDING_ID)


def _require_users(count: int) -> int:
    """Returns the number of users with two events, if there are any."""
    if count == 0:
        raise ValueError("sequences must hold a user with at least two events.")
    return count


def _from_memory(
    sequences: UserSequences, windows: _Windows, first_step: int | tf.Variable
) -> tf.data.Dataset:
    """Returns the batches of sequences in memory."""
    sequences = sequences.select(sequences.lengths >= 2)
    users = _require_users(len(sequences))
    item_ids = tf.constant(sequences.item_ids)
    starts = tf.constant(sequences.row_splits[:-1])
    ends = tf.constant(sequences.row_splits[1:])
    seed = tf.constant(windows.seed, tf.int64)

    def batch(step: tf.Tensor) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        window = step // windows.steps
        visits = window * windows.visits + tf.range(windows.visits, dtype=tf.int64)
        epochs = visits // users
        # The raw operation takes a seed for each row, `index_shuffle` one for all, but
        # a batch can continue from one epoch into the next.
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
    _require_users(folder.manifest.totals["trainable_users"])

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
