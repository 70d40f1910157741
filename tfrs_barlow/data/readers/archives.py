"""Files in a folder or an archive, opened one after the other and never extracted."""

from __future__ import annotations

import io
import pathlib
import re
import tarfile
import zipfile
from collections.abc import Collection, Generator, Iterator
from typing import IO, Any, NamedTuple

from tfrs_barlow.data.readers.json_lines import (
    BUFFER_SIZE,
    buffered,
    decompressed,
    refusing_damage,
)
from tfrs_barlow.data.readers.malformed import MalformedFileError

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_ARCHIVE_SUFFIXES = (".zip", *_TAR_SUFFIXES)
_TAR_BLOCK = 512
# Headers hold names; tarfile would read any number of bytes into memory.
_LONGEST_HEADER = 1 << 20
_LONG_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class OpenFile(NamedTuple):
    """A file, open, with the name that was asked for and where it was found."""

    name: str
    source: str
    stream: IO[bytes]


def open_files(
    path: pathlib.Path, names: tuple[str, ...]
) -> Generator[OpenFile, None, None]:
    """Opens files one after the other, each until the next is asked for.

    Args:
        path: A folder, in which files may have `.gz` behind their names; or an archive.
        names: The names of the files, in whatever folder of an archive.

    Raises:
        FileNotFoundError: If a file is not there.
        MalformedFileError: If an archive is truncated or damaged.
        ValueError: If the path is of another kind, or a file is there twice.
    """
    if path.is_dir():
        found = _open_folder(path, names)
    elif not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; expected a folder or an archive with "
            f"{' and '.join(names)}."
        )
    elif not path.name.lower().endswith(_ARCHIVE_SUFFIXES):
        raise ValueError(
            "data_dir_or_archive must be a folder or an archive "
            f"({', '.join(_ARCHIVE_SUFFIXES)}), but it is {path}."
        )
    else:
        found = _open_archive(path, names)
    seen = set()
    for file in found:
        if file.name in seen:
            raise ValueError(
                f"{path} must hold {file.name} once, but it holds it twice; the second "
                f"is {file.source}."
            )
        seen.add(file.name)
        yield file


def _open_folder(folder: pathlib.Path, names: tuple[str, ...]) -> Iterator[OpenFile]:
    """Opens the files in a folder, all found before the first is read."""
    found: dict[str, pathlib.Path] = {}
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                found.setdefault(name, path)
    _require_all(names, found, str(folder), suffix=", plain or with .gz")
    for name, path in found.items():
        with path.open("rb") as stream:
            yield OpenFile(name, str(path), decompressed(stream))


def _open_archive(path: pathlib.Path, names: tuple[str, ...]) -> Iterator[OpenFile]:
    with path.open("rb") as stream:
        if path.name.lower().endswith(".zip"):
            yield from _open_zip(stream, str(path), names)
        else:
            yield from _open_tar(stream, str(path), names)


def _open_zip(
    stream: IO[bytes], source: str, names: tuple[str, ...]
) -> Iterator[OpenFile]:
    """Opens the files in a zip archive, or in the only tar archive in it."""
    with refusing_damage(source), zipfile.ZipFile(stream) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        wanted = [info for info in members if _base_name(info.filename) in names]
        tars = [
            info for info in members if info.filename.lower().endswith(_TAR_SUFFIXES)
        ]
        if not wanted and len(tars) == 1:
            with archive.open(tars[0]) as inner:
                place = f"{tars[0].filename!r} in {source}"
                yield from _open_tar(inner, place, names)
            return
        _require_all(names, {_base_name(info.filename) for info in wanted}, source)
        for info in wanted:
            with archive.open(info) as member:
                yield OpenFile(
                    _base_name(info.filename),
                    f"{info.filename!r} in {source}",
                    buffered(member),
                )


def _open_tar(
    stream: IO[bytes], source: str, names: tuple[str, ...]
) -> Iterator[OpenFile]:
    """Opens the files in a tar archive, which is read once from its start to its end.

    The end is read too, where nothing is wanted: only there is the checksum of a
    compressed archive.
    """
    found: set[str] = set()
    tail = _Tail(decompressed(stream))
    with (
        refusing_damage(source),
        # As a stream: tarfile would seek otherwise, which starts gzip over.
        tarfile.open(
            fileobj=tail, mode="r|", bufsize=BUFFER_SIZE, tarinfo=_BoundedHeader
        ) as archive,
    ):
        for member in archive:
            # Or it would remember all members of an archive that has no end.
            archive.members.clear()  # type: ignore[attr-defined]
            name = _base_name(member.name)
            if name in names and member.isreg():
                content = archive.extractfile(member)
                assert content is not None  # It is so for links and folders only.
                found.add(name)
                yield OpenFile(name, f"{member.name!r} in {source}", buffered(content))
        while tail.read(BUFFER_SIZE):
            pass
    # tarfile takes a cut between two members for the end of the archive.
    if len(found) < len(names) and any(tail.last_block):
        raise MalformedFileError(
            f"{source} is truncated: it ends without the block of zeros that ends a "
            "tar archive."
        )
    _require_all(names, found, source)


class _BoundedHeader(tarfile.TarInfo):
    """The header of a member of a tar archive, refused if it is too long."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _BoundedHeader:
        """Reads the first block of a header."""
        header = super().frombuf(buf, encoding, errors)
        if header.type in _LONG_HEADERS and header.size > _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


class _Tail(io.RawIOBase):
    """A stream that remembers the last block read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last_block = b""

    def read(self, size: int = -1, /) -> bytes:
        """Reads up to `size` bytes."""
        content = self._stream.read(size)
        self.last_block = (self.last_block + content[-_TAR_BLOCK:])[-_TAR_BLOCK:]
        return content


def _base_name(member: str) -> str:
    """Returns the last part of a path in an archive, from whatever system it comes."""
    return re.split(r"[/\\]", member)[-1]


def _require_all(
    names: tuple[str, ...], found: Collection[str], source: str, *, suffix: str = ""
) -> None:
    """Checks that all files were found."""
    missing = [name for name in names if name not in found]
    if missing:
        raise FileNotFoundError(
            f"{source} lacks {' and '.join(missing)}; looked for "
            f"{' and '.join(names)}{suffix}."
        )
