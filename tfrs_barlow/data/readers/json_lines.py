"""Files with a JSON object in each line, read line by line."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar

from tfrs_barlow.data.readers.malformed import (
    MalformedFileError,
    MalformedLines,
    malformed_line,
)

BUFFER_SIZE = 1 << 18
# No object comes near this length: a longer line must not fill memory.
_LONGEST_LINE = 1 << 22
_GZIP_MAGIC = b"\x1f\x8b"
# `RuntimeError` is how `zipfile` refuses encryption and unknown compression.
_DAMAGE = (
    EOFError,
    RuntimeError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)

_Row = TypeVar("_Row")


def decompressed(stream: IO[bytes]) -> IO[bytes]:
    """Unpacks a stream if its first bytes are those of gzip, whatever its name is."""
    plain = buffered(stream)
    if plain.peek(2)[:2] != _GZIP_MAGIC:
        return plain
    return buffered(gzip.GzipFile(fileobj=plain))


def buffered(stream: Any) -> io.BufferedReader:
    """Reads in large pieces: a line from an archive costs a Python call otherwise."""
    return io.BufferedReader(stream, BUFFER_SIZE)


@contextlib.contextmanager
def refusing_damage(source: str) -> Iterator[None]:
    """Turns the errors of the decompressing libraries into one that names the file."""
    try:
        yield
    except OSError as error:
        # `bz2` and `gzip` raise such without the number of an error of the system.
        is_damage = type(error) in (OSError, gzip.BadGzipFile) and error.errno is None
        if not is_damage:
            raise
        raise _damaged(source, error) from error
    except _DAMAGE as error:
        raise _damaged(source, error) from error


def _damaged(source: str, error: Exception) -> MalformedFileError:
    return MalformedFileError(
        f"{source} cannot be read, truncated or damaged perhaps: {error}."
    )


def numbered_lines(stream: IO[bytes], source: str) -> Iterator[tuple[int, bytes]]:
    """Returns the lines with their numbers (from 1); monstrous lines are cut short."""
    number = 0
    with refusing_damage(source):
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            yield number, line
            while len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                line = stream.readline(_LONGEST_LINE)


def parse_lines(
    stream: IO[bytes],
    source: str,
    parse: Callable[[dict[str, Any]], _Row],
    form: str,
    malformed: MalformedLines,
) -> Iterator[_Row]:
    """Parses a file line by line, and passes over blank lines.

    Args:
        stream: The file.
        source: What errors call it.
        parse: Turns an object into a row, and raises an error if it cannot.
        form: The form of a line.
        malformed: Takes the malformed lines.

    Raises:
        MalformedFileError: If a line is malformed, or if there is no row.
    """
    number, is_empty = 0, True
    for number, line in numbered_lines(stream, source):
        if line.isspace():
            continue
        try:
            row = parse(parse_object(line))
        except (KeyError, ValueError) as error:
            malformed.add(source, number, line, form, error)
            continue
        is_empty = False
        yield row
    if is_empty:
        raise malformed_line(source, number + 1, b"", form)


def parse_object(line: bytes) -> dict[str, Any]:
    """Parses a line that must hold a JSON object in UTF-8."""
    text = line.decode()
    try:
        fields = json.loads(text)
    # What is nested too deep.
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(fields, dict):
        raise ValueError(text)
    # JSON can hold half characters, which UTF-8 cannot.
    if "\\ud" in text or "\\uD" in text:
        json.dumps(fields, ensure_ascii=False).encode()
    return fields
