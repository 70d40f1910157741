"""Writes user sequences as TFRecord files, completely or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow._checksum import checksum
from tfrs_barlow.data.records.folder import (
    MANIFEST,
    PARTIAL_SUFFIX,
    VOCABULARY,
    RecordManifest,
    Shard,
    UserType,
    interrupted_files,
    local_folder,
    shard_name,
)
from tfrs_barlow.data.sequences import UserSequences
from tfrs_barlow.data.vocabulary import Vocabulary

_EVENTS_PER_SHARD = 1 << 20
_MOST_SHARDS = 99_999  # Their names have five digits.


def write_sequences(
    sequences: UserSequences,
    path: str | os.PathLike[str],
    *,
    vocabulary: Vocabulary,
    shards: int | None = None,
) -> None:
    """Writes sequences into a folder, as TFRecord files of `tf.train.Example`s.

    A record is a user, with the features `user_id` (one integer or UTF-8 string),
    `row` (the user's place in `sequences`), `item_id` and `timestamp` (an integer for
    each event, oldest first). The folder also holds the vocabulary and a manifest with
    counts and checksums. Equal sequences make equal files.

    Each file is written under another name, and renamed when it is complete; the
    manifest comes last. If writing is interrupted, by a kill or a full disk, the
    manifest is missing and no function reads the folder. `write_sequences` may write
    into it again: it deletes what the interrupted call left.

    Args:
        sequences: The sequences, of at least one user.
        path: A local folder; made if it does not exist. It must be empty, or hold an
            interrupted write.
        vocabulary: The vocabulary of their item ids.
        shards: How many files to write, at most as many as users; by default one for
            each million events. Training reads up to 16 at a time, and mixes their
            users.

    Raises:
        TypeError: If an argument has the wrong type, or the users are neither integers
            nor strings.
        ValueError: If there is no user, an item id is not one of the vocabulary,
            `shards` is out of range, or `path` is a URL.
        FileExistsError: If the folder holds written sequences or other files, or
            another process is writing into it.
        OSError: If a file cannot be written, on a full disk for example.

    Examples:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> tfrsb.data.write_sequences(
        ...     sequences, folder, vocabulary=vocabulary, shards=2
        ... )
        >>> sorted(file.name for file in folder.iterdir())
        ['manifest.json', 'sequences-00000-of-00002.tfrecord',
         'sequences-00001-of-00002.tfrecord', 'vocabulary.json']
        >>> batches = tfrsb.data.training_batches(folder, batch_size=4, length=10)
    """
    folder = local_folder(path)
    user_type = _user_type(sequences.user_ids)
    if len(sequences) == 0:
        raise ValueError("sequences must hold at least one user, but they are empty.")
    if sequences.item_ids.size and sequences.item_ids.max() >= vocabulary.size:
        raise ValueError(
            f"item_ids of sequences must be ids of the vocabulary, below "
            f"{vocabulary.size}, but one is {sequences.item_ids.max()}."
        )
    bounds = shard_bounds(len(sequences), len(sequences.item_ids), shards)
    count = len(bounds) - 1
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        names = [file.name for file in folder.iterdir()]
        for name in interrupted_files(str(folder), names):
            (folder / name).unlink()
        written = [
            _write_shard(
                folder / shard_name(number, count),
                sequences,
                np.arange(bounds[number], bounds[number + 1]),
            )
            for number in range(count)
        ]
        for name, content in last_files(written, vocabulary, user_type).items():
            _write_bytes(folder / name, content)


def shard_bounds(users: int, events: int, shards: int | None) -> npt.NDArray[np.int64]:
    """Returns the first row of each shard, and the number of rows.

    Raises:
        ValueError: If `shards` is out of range.
    """
    if shards is None:
        shards = max(min(-(-events // _EVENTS_PER_SHARD), users), 1)
    shards = _checks.integer("shards", shards, at_least=1)
    most = min(users, _MOST_SHARDS)
    if shards > most:
        raise ValueError(
            f"shards must be at most the number of users, {users}, and {_MOST_SHARDS}, "
            f"but it is {shards}."
        )
    return np.linspace(0, users, shards + 1).astype(np.int64)


def last_files(
    shards: Sequence[Shard], vocabulary: Vocabulary, user_type: UserType
) -> dict[str, bytes]:
    """Returns the contents of the other files by name, in the order of writing."""
    tokens = json.dumps(vocabulary.tokens.tolist()).encode()
    sha256 = hashlib.sha256(tokens).hexdigest()
    manifest = RecordManifest(user_type, tuple(shards), len(tokens), sha256)
    return {VOCABULARY: tokens, MANIFEST: manifest.to_json().encode()}


def partial_name(name: str) -> str:
    """Returns a name for a file that is not complete yet, never the same twice."""
    return f"{name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}"


def _user_type(user_ids: npt.NDArray) -> UserType:
    kind = pd.api.types.infer_dtype(user_ids, skipna=False)
    if kind == "string":
        return "string"
    if kind == "integer" or len(user_ids) == 0:
        return "int64"
    raise TypeError(
        "user_ids of sequences must be all integers or all strings, but they are "
        f"{kind}."
    )


@contextlib.contextmanager
def _alone_in(folder: pathlib.Path) -> Iterator[None]:
    """Refuses to write into a folder that another call is writing into."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise FileExistsError(
            f"path must not be written by another process, but {folder} is."
        ) from error
    except OSError:
        pass  # Some network file systems cannot lock a folder.
    try:
        yield
    finally:
        os.close(descriptor)


def _write_shard(
    path: pathlib.Path,
    sequences: UserSequences,
    rows: npt.NDArray[np.int64],
) -> Shard:
    """Writes the users at `rows`."""
    # Users with a history and an item that follows come first: training reads no more.
    is_trainable = sequences.lengths[rows] >= 2
    rows = np.concatenate([rows[is_trainable], rows[~is_trainable]])

    def write(partial: pathlib.Path) -> None:
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for row in rows:
                start, end = sequences.row_splits[row : row + 2]
                record = serialize_user(
                    sequences.user_ids[row],
                    int(row),
                    sequences.item_ids[start:end],
                    sequences.timestamps[start:end],
                )
                writer.write(record)

    size, sha256 = _complete(path, write)
    return Shard(
        name=path.name,
        users=len(rows),
        trainable_users=int(is_trainable.sum()),
        events=int(sequences.lengths[rows].sum()),
        size=size,
        sha256=sha256,
    )


def serialize_user(
    user_id: Any,
    row: int,
    item_ids: npt.NDArray[np.int32],
    timestamps: npt.NDArray[np.int64],
) -> bytes:
    """Returns the record of a user: a serialized `tf.train.Example`."""
    example = tf.train.Example()
    feature = example.features.feature
    if isinstance(user_id, str):
        feature["user_id"].bytes_list.value.append(user_id.encode())
    else:
        feature["user_id"].int64_list.value.append(int(user_id))
    feature["row"].int64_list.value.append(row)
    feature["item_id"].int64_list.value.extend(item_ids.tolist())
    feature["timestamp"].int64_list.value.extend(timestamps.tolist())
    return example.SerializeToString(deterministic=True)


def _write_bytes(path: pathlib.Path, content: bytes) -> None:
    _complete(path, lambda partial: partial.write_bytes(content))


def _complete(
    path: pathlib.Path, write: Callable[[pathlib.Path], object]
) -> tuple[int, str]:
    """Writes a file that appears when it is on the disk; returns size and checksum."""
    partial = path.with_name(partial_name(path.name))
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        found = partial.stat().st_size, checksum(partial)
        partial.rename(path)
    # TensorFlow reports errors of the system as `OpError`s.
    except (OSError, tf.errors.OpError) as error:
        partial.unlink(missing_ok=True)
        raise OSError(
            f"{path} could not be written: {error}. The files before it are complete, "
            "but the folder is not: free some space, and write the sequences again."
        ) from error
    return found
