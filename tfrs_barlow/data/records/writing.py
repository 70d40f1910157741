"""Writes user sequences as TFRecord files, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from tfrs_barlow.data.records import folder as record_folder
from tfrs_barlow.data.records.folder import Manifest, Shard, UserType
from tfrs_barlow.data.sequences import UserSequences
from tfrs_barlow.data.vocabulary import Vocabulary

_EVENTS_PER_SHARD = 1 << 20


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
    each event, oldest first). Beside the shards lie the vocabulary and a manifest with
    counts and checksums. Equal sequences make equal files.

    Each file is written under another name, and renamed when it is complete; the
    manifest comes last. Where writing was interrupted, by a kill or a full disk, the
    manifest is missing and no function reads the folder. `write_sequences` may write
    into it again: it deletes what the interrupted call left.

    Example:
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

    Args:
        sequences: The sequences, of one user at least.
        path: A local folder; made if it does not exist. It must be empty, or hold an
            interrupted write.
        vocabulary: The vocabulary of their item ids.
        shards: How many files to write, at most as many as users; by default one for
            each million events. Training reads up to 16 at a time, and mixes the users
            of these.

    Raises:
        ValueError: If there is no user, an item id is not one of the vocabulary,
            `shards` is out of range, or `path` is a URL.
        TypeError: If the users are neither integers nor strings.
        FileExistsError: If the folder holds written sequences or other files.
        OSError: If a file cannot be written, on a full disk for example.
    """
    user_type = _user_type(sequences.user_ids)
    if len(sequences) == 0:
        raise ValueError("sequences must hold at least one user, but there is none.")
    if sequences.item_ids.size and sequences.item_ids.max() >= vocabulary.size:
        raise ValueError(
            f"item_ids of sequences must be ids of the vocabulary, below "
            f"{vocabulary.size}, but one is {sequences.item_ids.max()}."
        )
    bounds = shard_bounds(len(sequences), len(sequences.item_ids), shards)
    shards = len(bounds) - 1
    folder = _make_room(path)
    written: list[Shard] = []
    for number in range(shards):
        file = folder / record_folder.shard_name(number, shards)
        rows = np.arange(bounds[number], bounds[number + 1])
        written.append(_write_shard(file, sequences, rows))
    for name, content in last_files(written, vocabulary, user_type).items():
        _write_bytes(folder / name, content)


def shard_bounds(users: int, events: int, shards: int | None) -> npt.NDArray[np.int64]:
    """Returns which row each shard begins with, and how many rows there are.

    Raises:
        ValueError: If `shards` is out of range.
    """
    if shards is None:
        shards = max(min(-(-events // _EVENTS_PER_SHARD), users), 1)
    if not 1 <= shards <= min(users, 99_999):
        raise ValueError(
            f"shards must be from 1 to the number of users, {users}, and of five "
            f"digits at most, but it is {shards}."
        )
    return np.linspace(0, users, shards + 1).astype(np.int64)


def last_files(
    shards: Sequence[Shard], vocabulary: Vocabulary, user_type: UserType
) -> dict[str, bytes]:
    """Returns what else a folder holds, by name, in the order of writing."""
    tokens = json.dumps(vocabulary.tokens.tolist()).encode()
    sha256 = hashlib.sha256(tokens).hexdigest()
    manifest = Manifest(user_type, tuple(shards), len(tokens), sha256)
    return {
        record_folder.VOCABULARY: tokens,
        record_folder.MANIFEST: record_folder.manifest_text(manifest).encode(),
    }


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


def _make_room(path: str | os.PathLike[str]) -> pathlib.Path:
    """Makes the folder, and deletes what an interrupted write has left in it."""
    if "://" in os.fspath(path):
        raise ValueError(f"path must be a local folder, but it is the URL {path!r}.")
    folder = pathlib.Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    present = sorted(folder.iterdir())
    require_room(str(folder), [file.name for file in present])
    for file in present:
        file.unlink()
    return folder


def require_room(path: str, names: Sequence[str]) -> None:
    """Checks that a folder with files of these names may be written into.

    Raises:
        FileExistsError: If one is not of an interrupted write.
    """
    if record_folder.MANIFEST in names:
        raise FileExistsError(
            f"path must not hold written sequences, but {path} does. Delete them or "
            "choose another folder."
        )
    for name in names:
        if not record_folder.is_of_an_unfinished_write(name):
            raise FileExistsError(
                f"path must be an empty folder, but {path} holds {name}."
            )


def _write_shard(
    path: pathlib.Path,
    sequences: UserSequences,
    rows: npt.NDArray[np.int64],
) -> Shard:
    """Writes the users at `rows`."""
    # Who has a history and an item that follows comes first: training reads no more.
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

    _complete(path, write)
    return Shard(
        name=path.name,
        users=len(rows),
        trainable_users=int(is_trainable.sum()),
        events=int(sequences.lengths[rows].sum()),
        size=path.stat().st_size,
        sha256=record_folder.checksum(path),
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


def _complete(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Makes the file at `path` appear when it is written, and lies on the disk."""
    partial = path.with_name(path.name + record_folder.PARTIAL_SUFFIX)
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(path)
    # TensorFlow reports what the system does by errors of its own.
    except (OSError, tf.errors.OpError) as error:
        partial.unlink(missing_ok=True)
        raise OSError(
            f"{path} could not be written: {error}. The files before it are complete, "
            "but the folder is not: make room, and write the sequences again."
        ) from error
