"""Reads written user sequences: all of them, in batches, or shuffled endlessly."""

from __future__ import annotations

import os
import re

import numpy as np
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.data.readers.malformed import MalformedFileError
from tfrs_barlow.data.records.folder import (
    RecordFolder,
    UserType,
    open_folder,
)
from tfrs_barlow.data.sequences import UserSequences
from tfrs_barlow.data.vocabulary import Vocabulary

# An element of a dataset costs more than a record: records are read in blocks.
_RECORDS_PER_BLOCK = 256
_BLOCKS_AT_ONCE = 64
_SHARDS_AT_ONCE = 16
_RECORDS_SHUFFLED = 1 << 14


def read_sequences(
    path: str | os.PathLike[str], *, batch_size: int, length: int | None = None
) -> tf.data.Dataset:
    """Returns all written users once, in batches of whole sequences.

    Use it to embed or count users. To train, pass the folder to `training_batches`; if
    the sequences fit into memory, `load_sequences` returns them as they were.

    Args:
        path: A folder that `write_sequences` has written.
        batch_size: The rows of a batch; the last batch may have fewer.
        length: How many of the most recent events of each user to keep; None for all.

    Returns:
        A dataset of dicts: `"user_id"`, `[batch_size]`, int64 or string; `"row"`,
        `[batch_size]`, int64, the user's place in the sequences that were written;
        `"item_id"` (int32) and `"timestamp"` (int64), both ragged,
        `[batch_size, (events)]`. Users come in the order of the files; those with
        fewer than two events follow the others of their shard.

    Raises:
        TypeError: If an argument has the wrong type.
        FileNotFoundError: If there is no such folder.
        MalformedFileError: If the folder is incomplete or a file has another length.
        ValueError: If `batch_size` or `length` is less than 1.
        tf.errors.InvalidArgumentError: While it is read, if a file is damaged.

    Examples:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> tfrsb.data.write_sequences(sequences, folder, vocabulary=vocabulary)
        >>> for batch in tfrsb.data.read_sequences(folder, batch_size=8, length=50):
        ...     print(batch["user_id"].shape, batch["item_id"].to_tensor().shape[0])
        (8,) 8
        (8,) 8
        (4,) 4
    """
    batch_size = _checks.integer("batch_size", batch_size, at_least=1)
    if length is not None:
        length = _checks.integer("length", length, at_least=1)
    folder = open_folder(path)
    user_type = folder.manifest.user_type

    def batch(records: tf.Tensor) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        columns = _parse(records, user_type)
        if length is not None:
            for name in ("item_id", "timestamp"):
                columns[name] = columns[name][:, -length:]
        return columns

    records = _all_blocks(folder).rebatch(batch_size)
    return records.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def load_sequences(
    path: str | os.PathLike[str],
) -> tuple[UserSequences, Vocabulary]:
    """Loads written sequences into memory.

    Args:
        path: A folder that `write_sequences` has written.

    Returns:
        The sequences as they were written, and their vocabulary.

    Raises:
        FileNotFoundError: If there is no such folder.
        MalformedFileError: If the folder is incomplete, or a file has changed since it
            was written.

    Examples:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> tfrsb.data.write_sequences(sequences, folder, vocabulary=vocabulary)
        >>> loaded, names = tfrsb.data.load_sequences(folder)
        >>> (loaded.item_ids == sequences.item_ids).all(), names == vocabulary
        (np.True_, True)
    """
    folder = open_folder(path)
    user_type = folder.manifest.user_type
    blocks = _all_blocks(folder).rebatch(_RECORDS_PER_BLOCK * _BLOCKS_AT_ONCE)
    parsed = blocks.map(
        lambda records: _parse(records, user_type), num_parallel_calls=tf.data.AUTOTUNE
    )
    try:
        parts = list(parsed)
    except tf.errors.InvalidArgumentError as error:
        # Without the names of TensorFlow's operations around it.
        reason = re.sub(r"\{\{.*?\}\}\s*|\s*\[\[.*", "", error.message, flags=re.DOTALL)
        raise MalformedFileError(f"{folder.path} cannot be read: {reason}") from error

    def column(name: str) -> np.ndarray:
        return np.concatenate([part[name].numpy() for part in parts])

    users = column("user_id")
    if user_type == "string":
        users = np.array([user.decode() for user in users], object)
    items, times = (
        np.concatenate([part[name].values.numpy() for part in parts])
        for name in ("item_id", "timestamp")
    )
    lengths = np.concatenate([part["item_id"].row_lengths() for part in parts])
    row_splits = np.concatenate([[0], np.cumsum(lengths)])
    sequences = UserSequences(users, items, times, row_splits)
    rows = column("row")
    order = np.argsort(rows)
    if not np.array_equal(rows[order], np.arange(len(rows))):
        raise MalformedFileError(
            f"{folder.path} must hold each row of the sequences once, but it does not. "
            "Write the sequences again."
        )
    return sequences.select(order), folder.vocabulary()


def shuffled_records(
    folder: RecordFolder, seed: int, first_visit: tf.Tensor
) -> tf.data.Dataset:
    """Returns an endless stream of vectors of records, shuffled anew in each epoch.

    An epoch holds every user with at least two events once. Its order is a function of
    `seed` and the number of the epoch: the shards in random order, up to 16 of them
    read in turns, and each 16,384 of the resulting records shuffled.

    The stream begins at `first_visit`, counted through all epochs. Records before it in
    its epoch are read and skipped.
    """
    users = folder.manifest.totals["trainable_users"]
    files = [str(folder.path / shard.name) for shard in folder.manifest.shards]
    counts = [shard.trainable_users for shard in folder.manifest.shards]
    first_epoch, first_place = first_visit // users, first_visit % users

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        key = tf.random.experimental.stateless_fold_in(
            tf.stack([tf.constant(seed, tf.int64), 0]), number
        )
        order = tf.random.experimental.stateless_shuffle(tf.range(len(files)), key)
        place = tf.where(number == first_epoch, first_place, 0)
        first_pool = place // _RECORDS_SHUFFLED

        def shuffle(pool: tf.Tensor, records: tf.Tensor) -> tf.Tensor:
            pool_key = tf.random.experimental.stateless_fold_in(key, pool + 1)
            records = tf.random.experimental.stateless_shuffle(records, pool_key)
            return records[tf.where(pool == first_pool, place % _RECORDS_SHUFFLED, 0) :]

        blocks = tf.data.Dataset.from_tensor_slices(
            (tf.gather(files, order), tf.gather(counts, order))
        ).interleave(
            _blocks,
            cycle_length=min(_SHARDS_AT_ONCE, len(files)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        pools = blocks.rebatch(_RECORDS_SHUFFLED).skip(first_pool)
        return pools.enumerate(first_pool).map(shuffle)

    return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch)


def parse_items(records: tf.Tensor) -> tf.RaggedTensor:
    """Returns the item ids of serialized records: `[records, (events)]`, int32."""
    feature = {"item_id": _EVENTS}
    return tf.cast(tf.io.parse_example(records, feature)["item_id"], tf.int32)


_EVENTS = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)


def _parse(
    records: tf.Tensor, user_type: UserType
) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Parses serialized records together: ten times as fast as one by one."""
    features = {
        "user_id": tf.io.FixedLenFeature([], tf.as_dtype(user_type)),
        "row": tf.io.FixedLenFeature([], tf.int64),
        "item_id": _EVENTS,
        "timestamp": _EVENTS,
    }
    columns = tf.io.parse_example(records, features)
    return columns | {"item_id": tf.cast(columns["item_id"], tf.int32)}


def _all_blocks(folder: RecordFolder) -> tf.data.Dataset:
    """Returns the records of all users in vectors, in the order of the files."""
    shards = folder.manifest.shards
    files = [str(folder.path / shard.name) for shard in shards]
    users = [shard.users for shard in shards]
    return tf.data.Dataset.from_tensor_slices((files, users)).flat_map(_blocks)


def _blocks(file: tf.Tensor, count: tf.Tensor) -> tf.data.Dataset:
    """Returns the first `count` records of a file in vectors.

    For a damaged record TensorFlow names only its place, not its file. So an error ends
    the file here, and the number of records decides whether the file is damaged.
    """
    count = tf.cast(count, tf.int64)
    records = tf.data.TFRecordDataset(file).ignore_errors().take(count)
    blocks = records.batch(_RECORDS_PER_BLOCK)
    end = tf.data.Dataset.from_tensors(tf.constant([], tf.string))

    def check(before: tf.Tensor, block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        now = before + tf.size(block, tf.int64)
        problem = tf.strings.join(
            [
                file,
                " is damaged: only ",
                tf.strings.as_string(now),
                " of ",
                tf.strings.as_string(count),
                " records can be read. tfrsb.data.verify_sequences checks all files.",
            ]
        )
        is_fine = (tf.size(block) > 0) | (now == count)
        with tf.control_dependencies([tf.debugging.Assert(is_fine, [problem])]):
            return now, tf.identity(block)

    return blocks.concatenate(end).scan(tf.constant(0, tf.int64), check)
