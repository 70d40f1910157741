"""The layout of a folder of written sequences, and checks that it is undamaged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

from tfrs_barlow import _checks
from tfrs_barlow._checksum import checksum
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
    """One file of records."""

    name: str
    users: int  # A record each.
    trainable_users: int  # Users with at least two events; their records come first.
    events: int
    size: int  # In bytes.
    sha256: str

    def __post_init__(self) -> None:
        # A name in a manifest decides what is read: it must not lead out of the folder.
        if not _SHARD.fullmatch(self.name):
            raise ValueError(f"no name of a shard: {self.name!r}")
        most = min(self.users, self.events // 2)
        if not 0 <= self.trainable_users <= most:
            raise ValueError(f"impossible counts of {self.name}")


@dataclasses.dataclass(frozen=True)
class RecordManifest:
    """The contents of a complete folder."""

    user_type: UserType
    shards: tuple[Shard, ...]
    vocabulary_size: int  # The length of the vocabulary file in bytes.
    vocabulary_sha256: str

    def __post_init__(self) -> None:
        if self.user_type not in get_args(UserType):
            raise ValueError(f"no type of users: {self.user_type!r}")
        count = len(self.shards)
        expected = [shard_name(number, count) for number in range(count)]
        if [shard.name for shard in self.shards] != expected:
            raise ValueError(f"the shards are not those of {count}")

    @property
    def totals(self) -> dict[str, int]:
        """The sums of the counts of all shards."""
        names = ("users", "trainable_users", "events")
        return {n: sum(getattr(shard, n) for shard in self.shards) for n in names}

    def to_json(self) -> str:
        """Returns the content of the manifest file, with its own checksum."""
        content = {"format": _FORMAT} | self.totals | dataclasses.asdict(self)
        return json.dumps(content | {"sha256": _digest(content)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> RecordManifest:
        """Reads a manifest file, whose checksum and totals must fit its shards."""
        shards = tuple(Shard(**shard) for shard in content["shards"])
        names = [field.name for field in dataclasses.fields(cls)]
        manifest = cls(**{name: content[name] for name in names} | {"shards": shards})
        for name, total in manifest.totals.items():
            if content.get(name, total) != total:
                raise ValueError(f"{name} is {content[name]}, but shards have {total}")
        # Earlier folders have no checksum of the manifest, and lack one of the totals.
        others = {name: value for name, value in content.items() if name != "sha256"}
        if content.get("sha256", _digest(others)) != _digest(others):
            raise ValueError("it has changed since it was written")
        return manifest


def _digest(content: dict[str, Any]) -> str:
    """Returns the checksum of a manifest, however its file is indented."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class RecordFolder:
    """A complete folder of written sequences."""

    path: pathlib.Path
    manifest: RecordManifest

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


def local_folder(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path of a folder on this machine."""
    if not isinstance(path, os.PathLike):
        path = _checks.text("path", path)
    if "://" in os.fspath(path):
        raise ValueError(f"path must be a local folder, but it is the URL {path!r}.")
    return pathlib.Path(path)


def interrupted_files(path: str, names: Sequence[str]) -> list[str]:
    """Returns what an interrupted write left in a folder, in the order to delete it.

    Raises:
        FileExistsError: If the folder holds anything else.
    """
    if MANIFEST in names:
        raise FileExistsError(
            f"path must not hold written sequences, but {path} does. Delete them or "
            "choose another folder."
        )
    # Writers may add a random number, and write the vocabulary after all shards.
    partial = re.compile(rf"(\.[0-9a-f]{{32}})?{re.escape(PARTIAL_SUFFIX)}$")
    has_shards = any(map(_SHARD.fullmatch, names))
    shards, others = [], []
    for name in sorted(names):
        complete = partial.sub("", name)
        if _SHARD.fullmatch(complete):
            shards.append(name)
        elif complete in (VOCABULARY, MANIFEST) and has_shards:
            others.append(name)
        else:
            raise FileExistsError(
                f"path must be an empty folder, but {path} holds {name}."
            )
    return others + shards


def open_folder(path: str | os.PathLike[str]) -> RecordFolder:
    """Opens a folder of written sequences, and checks each file by its checksum.

    TensorFlow trusts the lengths in a file of records: a forged one ends the process.

    Raises:
        FileNotFoundError: If there is no such folder.
        MalformedFileError: If the folder is incomplete, or files are missing or have
            changed; the message names them all.
    """
    folder = local_folder(path)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} does not exist or is no folder; expected one that "
            "tfrsb.data.write_sequences has written."
        )
    opened = RecordFolder(folder, _read_manifest(folder))
    _refuse(folder, _wrong_lengths(opened))
    _refuse(folder, _wrong_checksums(opened))
    return opened


def verify_sequences(path: str | os.PathLike[str]) -> None:
    """Checks the folder that `write_sequences` has written against its checksums.

    So does each function that opens the folder; this one reads nothing else. Readers
    also check the CRC of each record as they read it.

    Args:
        path: The folder.

    Raises:
        FileNotFoundError: If there is no such folder.
        MalformedFileError: If the folder is incomplete, or files are missing or have
            changed; the message names them all.

    Examples:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> tfrsb.data.write_sequences(sequences, folder, vocabulary=vocabulary)
        >>> tfrsb.data.verify_sequences(folder)
    """
    open_folder(path)


def _read_manifest(folder: pathlib.Path) -> RecordManifest:
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
        if written == _FORMAT:
            return RecordManifest.from_json(content)
    except (ValueError, TypeError, KeyError) as error:
        raise MalformedFileError(
            f"{path} must hold the manifest of written sequences, but it cannot be "
            f"read: {error!r}."
        ) from error
    raise MalformedFileError(
        f"{path} must have the format {_FORMAT}, but it has {written!r}: another "
        "version of tfrs_barlow wrote it."
    )


def _wrong_lengths(folder: RecordFolder) -> Iterator[str]:
    """Yields each file that is missing or has another length."""
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


def _files(manifest: RecordManifest) -> Iterator[tuple[str, int, str]]:
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
