"""Reads logs in an Apache Beam pipeline, in batches that know the order of rows."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import pathlib
import re
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tfrs_barlow.data.readers.columns import DATE
from tfrs_barlow.data.readers.files import SEPARATORS
from tfrs_barlow.data.readers.malformed import MalformedFileError
from tfrs_barlow.data.readers.tables import read_interactions

try:
    import apache_beam as beam
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems
except ImportError as error:
    raise ImportError(
        "Apache Beam cannot be imported: pip install 'tfrs-barlow[beam]'."
    ) from error

__all__ = ["FileSystems", "InteractionBatch", "ReadInteractions", "beam"]

# What one worker reads at a time, and how much of it makes a batch, in bytes.
_RANGE_SIZE = 1 << 26
_BATCH_SIZE = 1 << 23
# A position is the number of a file and, in the low bits, a place in the file.
_PLACE_BITS = 44


class InteractionBatch(NamedTuple):
    """Some rows of a log, column by column.

    Attributes:
        user_ids: `[rows]`, int64, or strings as objects.
        item_ids: `[rows]`, int64, or strings as objects.
        timestamps: `[rows]`, int64.
        positions: `[rows]`, int64: of two events of a user at one time, the one with
            the lower position comes first.
        has_dates: Whether the times were written as dates. All batches must agree.
    """

    user_ids: npt.NDArray[Any]
    item_ids: npt.NDArray[Any]
    timestamps: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    has_dates: bool = False


class ReadInteractions(beam.PTransform):
    """Reads files as `read_interactions` does, each in parts.

    Files count as one, in the order of their paths. A `.csv` or `.tsv` file of more
    than 64 MiB is cut at line breaks, so that none may be inside a quoted field; a
    `.gz` file is one part; a Parquet file is cut into its row groups.

    It returns a `PCollection` of `InteractionBatch`es.

    Args:
        file_pattern: The files, with `*` and `?` for what differs: paths, or URLs of
            any file system that Beam knows.
        user_column: The users: integers or strings.
        item_column: The items: integers or strings.
        time_column: The times: see `read_interactions`.

    Raises:
        FileNotFoundError: While it runs, if no file has such a name.
        MalformedFileError, ValueError, TypeError: While it runs, as
            `read_interactions` raises them; the message names the file.
    """

    def __init__(
        self, file_pattern: str, *, user_column: str, item_column: str, time_column: str
    ) -> None:
        super().__init__()
        self._file_pattern = file_pattern
        self._columns = {
            "user_column": user_column,
            "item_column": item_column,
            "time_column": time_column,
        }

    def expand(self, pipeline: Any) -> Any:
        """Adds the reading of the files to a pipeline."""
        return (
            pipeline
            | "Pattern" >> beam.Create([self._file_pattern])
            | "Parts" >> beam.FlatMap(_parts)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_read, columns=self._columns)
        )


class _Part(NamedTuple):
    """What one worker reads."""

    path: str
    number: int  # The file's place among the files.
    start: int  # The first byte, or the number of the row group.
    end: int | None  # The byte after the last; None for all that follow.


def _parts(file_pattern: str) -> Iterator[_Part]:
    found = FileSystems.match([file_pattern])[0].metadata_list
    if not found:
        raise FileNotFoundError(
            f"file_pattern must name at least one file, but {file_pattern!r} names no "
            "file."
        )
    for number, file in enumerate(sorted(found, key=lambda file: file.path)):
        name = file.path.lower()
        if name.endswith(".parquet"):
            with _naming(file.path), FileSystems.open(file.path) as stream:
                groups = _parquet_file(stream).num_row_groups
            for group in range(groups):
                yield _Part(file.path, number, group, None)
        elif name.endswith(".gz"):
            yield _Part(file.path, number, 0, None)
        else:
            for start in range(0, file.size_in_bytes, _RANGE_SIZE):
                yield _Part(file.path, number, start, start + _RANGE_SIZE)


def _read(part: _Part, columns: dict[str, Any]) -> Iterator[InteractionBatch]:
    if part.path.lower().endswith(".parquet"):
        return _read_row_group(part, columns)
    return _read_lines(part, columns)


def _parquet_file(stream: Any) -> Any:
    return importlib.import_module("pyarrow.parquet").ParquetFile(stream)


def _read_row_group(part: _Part, columns: dict[str, Any]) -> Iterator[InteractionBatch]:
    with _naming(part.path), FileSystems.open(part.path) as stream:
        file = _parquet_file(stream)
        names = list(dict.fromkeys(columns.values()))
        try:
            group = file.read_row_group(part.start, columns=names)
        # What pyarrow raises for a damaged page.
        except OSError as error:
            raise MalformedFileError(f"{part.path} cannot be read: {error}") from error
        # With a value missing integers would become floats, which round large ones.
        table = group.to_pandas(ignore_metadata=True, integer_object_nulls=True)
        before = [file.metadata.row_group(group) for group in range(part.start)]
    first = sum(group.num_rows for group in before)
    if not table.empty:
        with _naming(f"{part.path}, rows counted from {first}"):
            rows = read_interactions(table, **columns).interactions
        yield _batch(part, first, rows, table[columns["time_column"]].iloc[0])


def _read_lines(part: _Part, columns: dict[str, Any]) -> Iterator[InteractionBatch]:
    """Reads the lines that begin in a part, each batch after the file's first line."""
    suffix = next(filter(part.path.lower().endswith, SEPARATORS), "")
    if not suffix:
        raise ValueError(
            "file_pattern must name files that end in "
            f"{', '.join([*SEPARATORS, '.parquet'])}, but one is {part.path}."
        )
    with (
        _naming(part.path),
        _open(part.path) as file,
        tempfile.TemporaryDirectory() as folder,
    ):
        local = pathlib.Path(folder, f"log{suffix.removesuffix('.gz')}")
        header = file.readline()
        while header and not header.strip():
            header = file.readline()
        if part.start > file.tell():
            # The line that reaches into this part began in the one before.
            file.seek(part.start - 1)
            file.readline()
        while content := _next_lines(file, part.end):
            place = file.tell() - len(content)
            if content.strip():
                local.write_bytes(header + content)
                name = part.path
                if place > len(header):
                    name += f", first line and from byte {place}"
                with _naming(name, local):
                    rows = read_interactions(local, **columns).interactions
                times = pd.read_csv(
                    io.BytesIO(header + content),
                    sep=SEPARATORS[suffix],
                    usecols=[columns["time_column"]],
                    dtype=str,
                    nrows=1,
                )
                yield _batch(part, place, rows, times.iloc[0, 0])


@contextlib.contextmanager
def _open(path: str) -> Iterator[Any]:
    """Opens a file as it is, or unpacks it: Beam would not see that its end is cut."""
    with FileSystems.open(
        path, compression_type=CompressionTypes.UNCOMPRESSED
    ) as stream:
        yield gzip.GzipFile(fileobj=stream) if path.lower().endswith(".gz") else stream


def _next_lines(file: Any, end: int | None) -> bytes:
    """Reads the next whole lines: of those that begin before `end`, some megabytes."""
    size = _BATCH_SIZE if end is None else min(_BATCH_SIZE, end - file.tell())
    if size <= 0:
        return b""
    content: bytes = file.read(size)
    if not content.endswith(b"\n"):
        content += file.readline()
    # A line break in a quoted field does not end a row.
    while content.count(b'"') % 2 and (line := file.readline()):
        content += line
    return content


@contextlib.contextmanager
def _naming(name: str, local: pathlib.Path | None = None) -> Iterator[None]:
    """Makes errors name the file that is read, not a local copy of a part of it."""
    try:
        yield
    except (ValueError, TypeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        message = str(error).replace(str(local or name), name)
        if name not in message:
            message = f"{name} cannot be read: {error}"
        elif local is None:
            raise
        kind = type(error) if type(error) in (ValueError, TypeError) else None
        raise (kind or MalformedFileError)(message) from error


def _batch(
    part: _Part, place: int, rows: pd.DataFrame, first_time: Any
) -> InteractionBatch:
    """Makes a batch of rows that have their places in the file from `place` on."""
    return InteractionBatch(
        rows["user_id"].to_numpy(),
        rows["item_id"].to_numpy(),
        rows["timestamp"].to_numpy(np.int64),
        (part.number << _PLACE_BITS) + place + np.arange(len(rows)),
        bool(re.match(DATE, str(first_time))),
    )
