"""What a folder of written sequences holds, so that damage is seen before use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args

from tfrs_barlow.data.readers.malformed import MalformedFileError
from tfrs_barlow.data.vocabulary import Vocabulary

MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.json"
PARTIAL_SUFFIX = ".partial"

_FORMAT = 1
_SHARD = re.compile(r"sequences-\d{5}-of-\d{5}\.tfrecord")

UserType = Literal["int64", "string"]
"""The types that a user's id can have."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of records.

    Attributes:
        name: The name of the file.
        users: How many users it holds, a record each.
        trainable_users: How many of them have two events or more: they come first.
        events: How many events they have.
        size: The length of the file in bytes.
        sha256: Its checksum.
    """

    name: str
    users: int
    trainable_users: int
    events: int
    size: int
    sha256: str

    def __post_init__(self) -> None:
        # A name from a file decides what is read: it must not lead out of the folder.
        if not _SHARD.fullmatch(self.name):
            raise ValueError(f"no name of a shard: {self.name!r}")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a complete folder holds.

    Attributes:
        user_type: The type of the users' ids.
        shards: The files with the records.
        vocabulary_size: The length of the vocabulary file in bytes.
        vocabulary_sha256: Its checksum.
    """

    user_type: UserType
    shards: tuple[Shard, ...]
    vocabulary_size: int
    vocabulary_sha256: str

    def __post_init__(self) -> None:
        if self.user_type not in get_args(UserType):
            raise ValueError(f"no type of users: {self.user_type!r}")

    @property
    def trainable_users(self) -> int:
        """How many users have two events or more."""
        return sum(shard.trainable_users for shard in self.shards)


@dataclasses.dataclass(frozen=True)
class RecordFolder:
    """A complete folder of written sequences.

    Attributes:
        path: The folder.
        manifest: What it holds.
    """

    path: pathlib.Path
    manifest: Manifest

    def vocabulary(self) -> Vocabulary:
        """Reads the vocabulary."""
        path = self.path / VOCABULARY
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.manifest.vocabulary_sha256:
            raise MalformedFileError(f"{path} has changed since it was written.")
        return Vocabulary(json.loads(content))


def shard_name(number: int, shards: int) -> str:
    """Returns the name of a shard, counted from 0."""
    return f"sequences-{number:05}-of-{shards:05}.tfrecord"


def is_of_an_unfinished_write(name: str) -> bool:
    """Whether a folder without a manifest can hold a file of this name."""
    # Workers of a pipeline may write the same file at once: each adds a number.
    name = re.sub(rf"(\.[0-9a-f]{{32}})?{re.escape(PARTIAL_SUFFIX)}$", "", name)
    return name in (MANIFEST, VOCABULARY) or bool(_SHARD.fullmatch(name))


def checksum(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            sha256.update(chunk)
    return sha256.hexdigest()


def manifest_text(manifest: Manifest) -> str:
    """Returns what the file of a manifest holds."""
    totals = {
        "format": _FORMAT,
        "users": sum(shard.users for shard in manifest.shards),
        "events": sum(shard.events for shard in manifest.shards),
    }
    return json.dumps(totals | dataclasses.asdict(manifest), indent=2) + "\n"


def open_folder(path: str | os.PathLike[str]) -> RecordFolder:
    """Opens a folder of written sequences, all of whose files must have their lengths.

    Raises:
        FileNotFoundError: If there is no such folder.
        MalformedFileError: If the folder is incomplete, or a file is missing or has
            another length.
    """
    folder = pathlib.Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} does not exist, or it is no folder; expected one that "
            "tfrsb.data.write_sequences has written."
        )
    opened = RecordFolder(folder, _read_manifest(folder))
    _refuse(folder, _wrong_lengths(opened))
    return opened


def verify_sequences(path: str | os.PathLike[str]) -> None:
    """Checks the folder that `write_sequences` has written against its checksums.

    To read a folder checks less: that it is complete, the length of each file, and the
    CRC of each record as it comes.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> tfrsb.data.write_sequences(sequences, folder, vocabulary=vocabulary)
        >>> tfrsb.data.verify_sequences(folder)

    Args:
        path: The folder.

    Raises:
        FileNotFoundError: If there is no such folder.
        MalformedFileError: If the folder is incomplete, or a file is missing or has
            changed; the message names all of them.
    """
    folder = open_folder(path)
    _refuse(folder.path, _wrong_checksums(folder))


def _read_manifest(folder: pathlib.Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        shards = sum(bool(_SHARD.fullmatch(file.name)) for file in folder.iterdir())
        raise MalformedFileError(
            f"{folder} has no {MANIFEST}, which is written last, but {shards} complete "
            "shards: writing was interrupted, or tfrsb.data.write_sequences did not "
            "write it. Write the sequences again."
        )
    try:
        content = json.loads(path.read_bytes())
        written = content["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable(path, error) from error
    if written != _FORMAT:
        raise MalformedFileError(
            f"{path} must have the format {_FORMAT}, but it has {written!r}: another "
            "version of tfrs_barlow wrote it."
        )
    try:
        return _parse_manifest(content)
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable(path, error) from error


def _parse_manifest(content: dict[str, Any]) -> Manifest:
    shards = tuple(Shard(**shard) for shard in content["shards"])
    names = [field.name for field in dataclasses.fields(Manifest)]
    return Manifest(**{name: content[name] for name in names} | {"shards": shards})


def _unreadable(path: pathlib.Path, error: Exception) -> MalformedFileError:
    return MalformedFileError(
        f"{path} must hold the manifest of written sequences, but it cannot be read: "
        f"{error!r}."
    )


def _wrong_lengths(folder: RecordFolder) -> Iterator[str]:
    """Yields what is wrong with the files at first sight."""
    for name, size, _ in _files(folder.manifest):
        path = folder.path / name
        if not path.is_file():
            yield f"{name} is missing"
        elif (found := path.stat().st_size) != size:
            yield f"{name} has {found} bytes instead of {size}"


def _wrong_checksums(folder: RecordFolder) -> Iterator[str]:
    for name, _, sha256 in _files(folder.manifest):
        if checksum(folder.path / name) != sha256:
            yield f"{name} has changed"


def _files(manifest: Manifest) -> Iterator[tuple[str, int, str]]:
    """Yields the name, the length and the checksum of each file."""
    yield VOCABULARY, manifest.vocabulary_size, manifest.vocabulary_sha256
    for shard in manifest.shards:
        yield shard.name, shard.size, shard.sha256


def _refuse(folder: pathlib.Path, faults: Iterator[str]) -> None:
    if found := list(faults):
        raise MalformedFileError(
            f"{folder} is not as it was written: {', '.join(found)}. Copy it again or "
            "write the sequences again."
        )
