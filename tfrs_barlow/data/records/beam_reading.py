"""Reads logs in an Apache Beam pipeline, in batches that know the order of rows."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import re
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tfrs_barlow.data.readers.columns import DATE, require_columns, to_ids, to_seconds
from tfrs_barlow.data.readers.delimited import SEPARATORS, read_delimited
from tfrs_barlow.data.readers.malformed import MalformedFileError
from tfrs_barlow.data.readers.tables import without_categories

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
# A position is the number of a file and, in so many bits, a place in the file.
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

    Files count in the order of their paths, as if they were one. A `.csv` or `.tsv`
    file is cut at line breaks, so that none may stand in a quoted field of a file of
    more than 64 MiB; a `.gz` file is one part; a Parquet file is cut into its row
    groups.

    It returns a `PCollection` of `InteractionBatch`es.

    Raises:
        FileNotFoundError: While it runs, if no file has such a name.
        MalformedFileError, ValueError, TypeError: While it runs, as
            `read_interactions` raises them; the message names file and place.
    """

    def __init__(
        self, file_pattern: str, *, user_column: str, item_column: str, time_column: str
    ) -> None:
        """Initializes the transform.

        Args:
            file_pattern: The files, with `*` and `?` for what differs: paths, or URLs
                of any file system that Beam knows.
            user_column: The users: integers or strings.
            item_column: The items: integers or strings.
            time_column: When it happened: see `read_interactions`.
        """
        super().__init__()
        self._file_pattern = file_pattern
        self._columns = {
            "user_column": user_column,
            "item_column": item_column,
            "time_column": time_column,
        }

    def expand(self, pipeline: Any) -> Any:
        """Adds what reads to the pipeline."""
        return (
            pipeline
            | "Pattern" >> beam.Create([self._file_pattern])
            | "Parts" >> beam.FlatMap(_parts)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_read, columns=self._columns)
        )


class _Part(NamedTuple):
    """What one worker reads.

    Attributes:
        path: The file.
        number: Its place among the files.
        start: The first byte, or the number of the row group.
        end: The byte after the last; None for all that follow.
    """

    path: str
    number: int
    start: int
    end: int | None


def _parts(file_pattern: str) -> Iterator[_Part]:
    found = FileSystems.match([file_pattern])[0].metadata_list
    if not found:
        raise FileNotFoundError(
            f"file_pattern must name one file at least, but none is {file_pattern!r}."
        )
    for number, file in enumerate(sorted(found, key=lambda file: file.path)):
        name = file.path.lower()
        if name.endswith(".parquet"):
            with FileSystems.open(file.path) as stream:
                groups = _open_parquet(stream, file.path).num_row_groups
            for group in range(groups):
                yield _Part(file.path, number, group, None)
        elif name.endswith(".gz"):
            yield _Part(file.path, number, 0, None)
        else:
            for start in range(0, file.size_in_bytes, _RANGE_SIZE):
                yield _Part(file.path, number, start, start + _RANGE_SIZE)


def _read(part: _Part, columns: dict[str, str]) -> Iterator[InteractionBatch]:
    if part.path.lower().endswith(".parquet"):
        return _read_row_group(part, columns)
    return _read_lines(part, columns)


def _open_parquet(stream: Any, path: str) -> Any:
    pyarrow = importlib.import_module("pyarrow")
    try:
        return importlib.import_module("pyarrow.parquet").ParquetFile(stream)
    except pyarrow.ArrowInvalid as error:
        raise MalformedFileError(f"{path} cannot be read: {error}") from error


def _read_row_group(part: _Part, columns: dict[str, str]) -> Iterator[InteractionBatch]:
    with FileSystems.open(part.path) as stream:
        file = _open_parquet(stream, part.path)
        require_columns(file.schema_arrow.names, columns, part.path)
        names = list(dict.fromkeys(columns.values()))
        try:
            table = file.read_row_group(part.start, columns=names)
        # What pyarrow raises for a damaged page.
        except OSError as error:
            raise MalformedFileError(f"{part.path} cannot be read: {error}") from error
        before = [file.metadata.row_group(group) for group in range(part.start)]
    first = sum(group.num_rows for group in before)
    rows = without_categories(table.to_pandas(ignore_metadata=True))
    if not rows.empty:
        yield _batch(part, first, rows, columns)


def _read_lines(part: _Part, columns: dict[str, str]) -> Iterator[InteractionBatch]:
    """Reads the lines that begin in a part, each batch behind the file's first line."""
    suffix = next((name for name in SEPARATORS if part.path.lower().endswith(name)), "")
    if not suffix:
        raise ValueError(
            "file_pattern must name files that end in "
            f"{', '.join([*SEPARATORS, '.parquet'])}, but one is {part.path}."
        )
    try:
        with _open(part.path) as file:
            header = b""
            if part.start:
                header = file.readline()
                # The line that reaches into this part began in the one before.
                file.seek(part.start - 1)
                file.readline()
            while content := _next_lines(file, part.end):
                place = file.tell() - len(content)
                name = part.path
                if header:
                    name += f", its first line and what follows byte {place}"
                table = read_delimited(
                    header + content, SEPARATORS[suffix], columns, name
                )
                if not table.empty:
                    yield _batch(part, place, table, columns)
                header = header or content.lstrip(b"\r\n").split(b"\n", 1)[0] + b"\n"
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise MalformedFileError(f"{part.path} cannot be read: {error}") from error


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
    # A line break in a quoted field ends no row.
    while content.count(b'"') % 2 and (line := file.readline()):
        content += line
    return content


def _batch(
    part: _Part, place: int, table: pd.DataFrame, columns: dict[str, str]
) -> InteractionBatch:
    """Makes a batch of rows that have their places in the file from `place` on."""
    users, items, times = (table[name] for name in columns.values())
    try:
        return InteractionBatch(
            to_ids(users).to_numpy(),
            to_ids(items).to_numpy(),
            to_seconds(times).to_numpy(),
            (part.number << _PLACE_BITS) + place + np.arange(len(table)),
            bool(re.match(DATE, str(times.iloc[0]))),
        )
    except (TypeError, ValueError) as error:
        unit = "row" if part.path.lower().endswith(".parquet") else "byte"
        kind = TypeError if isinstance(error, TypeError) else MalformedFileError
        raise kind(f"{part.path}, rows counted from {unit} {place}: {error}") from error
