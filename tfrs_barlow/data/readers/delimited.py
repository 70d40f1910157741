"""Reads CSV and TSV files: whole by pandas, or row by row to leave bad ones out."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import pathlib
import re
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tfrs_barlow.data.readers.columns import INTEGER, require_columns
from tfrs_barlow.data.readers.malformed import MalformedFileError, malformed_line

SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}

_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)
# No file holds this: UTF-8 has no such character, and other bytes become other ones.
_END = "\ud800"


class NumberedRows(NamedTuple):
    """What was read line by line.

    Attributes:
        table: The rows, all as strings.
        lines: The line in which each of them begins, from 1.
        left_out: The lines in which rows begin that have too many fields or are no
            UTF-8.
    """

    table: pd.DataFrame
    lines: list[int]
    left_out: list[int]


def read_delimited(
    source: pathlib.Path | bytes, separator: str, wanted: dict[str, str], name: str
) -> pd.DataFrame:
    """Reads the wanted columns of a CSV or TSV file.

    All columns are parsed, since pandas passes over a row with too many fields where
    it is to leave columns out.

    Args:
        source: The file, or what it holds.
        separator: What stands between two fields.
        wanted: The names of columns, by argument of `read_interactions`.
        name: What errors call the file.
    """
    numbers = {wanted["time_column"], wanted.get("rating_column")}
    with _naming_malformed_rows(source, separator, name), warnings.catch_warnings():
        # This is how pandas says that it cuts off fields no column is for.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        present = _column_names(source, separator, wanted, name)
        types: dict[Any, Any] = {key: str for key in present if key not in numbers}
        options = {"keep_default_na": False, "low_memory": False}
        table = _read_by_pandas(source, separator, dtype=types, **options)
        for column in _not_numbers(table, wanted):
            # Read as text it can be told which rows are to blame.
            text = _read_by_pandas(source, separator, dtype=str, **options)
            table[column] = text[column]
    return parse_integers(table, {wanted["user_column"], wanted["item_column"]})


def read_rows(
    path: pathlib.Path, separator: str, wanted: dict[str, str]
) -> NumberedRows:
    """Reads the wanted columns of a CSV or TSV file line by line.

    So what is malformed can be left out, which pandas does not count.

    Args:
        path: The file.
        separator: What stands between two fields.
        wanted: The names of columns, by argument of `read_interactions`.
    """
    lines: list[int] = []
    left_out: list[int] = []
    with _naming_malformed_rows(path, separator, str(path)):
        present = _column_names(path, separator, wanted, str(path))
        names = list(dict.fromkeys(wanted.values()))
        positions = [present.index(name) for name in names]
        columns: list[list[str]] = [[] for _ in names]
        records = _records(path, separator, str(path))
        for line, fields in itertools.islice(records, 1, None):
            if not _is_well_formed(fields, len(present)):
                left_out.append(line)
                continue
            lines.append(line)
            fields += [""] * (len(present) - len(fields))
            for values, position in zip(columns, positions, strict=True):
                values.append(fields[position])
    table = pd.DataFrame(dict(zip(names, columns, strict=True)), dtype=object)
    return NumberedRows(table, lines, left_out)


def line_of(path: pathlib.Path, separator: str, row: int) -> int:
    """Returns in which line of a file, from 1, a row of it begins, from 0."""
    # One more, since the names of the columns are no row.
    records = itertools.islice(_records(path, separator, str(path)), row + 1, None)
    return next(records)[0]


def parse_integers(table: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """Turns columns of strings into integers, each if all of it are."""
    columns = {}
    for name in names:
        if pd.api.types.is_numeric_dtype(table[name].dtype):
            continue
        codes, texts = pd.factorize(table[name])
        if (codes >= 0).all() and all(re.fullmatch(INTEGER, text) for text in texts):
            columns[name] = texts.astype(np.int64).to_numpy()[codes]
    return table.assign(**columns)


def _column_names(
    source: pathlib.Path | bytes, separator: str, wanted: dict[str, str], name: str
) -> list[Any]:
    """Reads the names of all columns, and checks that the wanted ones are there."""
    present = list(_read_by_pandas(source, separator, nrows=0))
    require_columns(present, wanted, name)
    # As they are written: pandas calls the second of the same name otherwise.
    written = header(source, separator)
    twice = {role: name for role, name in wanted.items() if written.count(name) > 1}
    require_columns(written, twice, name)
    return present


def header(source: pathlib.Path | bytes, separator: str) -> list[str]:
    """Returns the names of all columns as they are written."""
    first = _read_by_pandas(
        source, separator, header=None, nrows=1, dtype=str, keep_default_na=False
    )
    return [str(name) for name in first.iloc[0]]


def _read_by_pandas(
    source: pathlib.Path | bytes, separator: str, **options: Any
) -> pd.DataFrame:
    file: Any = io.BytesIO(source) if isinstance(source, bytes) else source
    return pd.read_csv(file, sep=separator, index_col=False, **options)


def _not_numbers(table: pd.DataFrame, wanted: dict[str, str]) -> set[str]:
    """Returns the columns of what is no time or no rating, though pandas parsed it."""
    kinds = {"time_column": "fb", "rating_column": "b"}
    return {
        wanted[role]
        for role in kinds.keys() & wanted.keys()
        if table[wanted[role]].dtype.kind in kinds[role]
    }


@contextlib.contextmanager
def _naming_malformed_rows(
    source: pathlib.Path | bytes, separator: str, name: str
) -> Iterator[None]:
    """Turns the errors of what reads a file into one that names file and line.

    Args:
        source: The file, or what it holds.
        separator: What stands between two fields.
        name: What errors call the file.

    Raises:
        MalformedFileError: Instead; without a line if the whole file is damaged.
    """
    parsing = (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError)
    try:
        try:
            yield
        except parsing:
            _refuse_malformed_rows(source, separator, name)
            raise
    except (*_DAMAGE, *parsing, pd.errors.EmptyDataError) as error:
        raise MalformedFileError(f"{name} cannot be read: {error}") from error


def _refuse_malformed_rows(
    source: pathlib.Path | bytes, separator: str, name: str
) -> None:
    """Raises an error for the first row that is not well-formed, if any."""
    length = None
    for line, fields in _records(source, separator, name):
        length = length or len(fields)
        if not _is_well_formed(fields, length):
            found = separator.join(fields).encode(errors="surrogateescape")
            raise malformed_line(name, line, found, f"{length} fields in UTF-8")


def _is_well_formed(fields: list[str], length: int) -> bool:
    """Tells whether a row has no more than `length` fields, all of them of UTF-8."""
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        return False
    return len(fields) <= length


def _records(
    source: pathlib.Path | bytes, separator: str, name: str
) -> Iterator[tuple[int, list[str]]]:
    """Returns the fields of each row, and the line in which it begins, from 1.

    Blank lines are passed over, as by pandas.

    Args:
        source: The file, or what it holds.
        separator: What stands between two fields.
        name: What errors call the file.

    Raises:
        MalformedFileError: If a quoted field never ends, or is too long.
    """
    text = ""

    def lines() -> Iterator[str]:
        nonlocal text
        with _open_text(source) as file:
            for line_text in file:
                text = line_text
                yield text
        # Within a quote that is still open at the end, this is no row of its own.
        yield _END

    reader = csv.reader(lines(), delimiter=separator)
    line = 1
    try:
        for fields in reader:
            if fields == [_END]:
                return
            if fields and fields[-1].endswith(_END):
                raise MalformedFileError(
                    f"{name}, line {line}: a quote opens here that is never closed."
                )
            if len(fields) > 1 or text.strip(" \t\r\n"):
                yield line, fields
            line = reader.line_num + 1
    # A field of more than 131,072 characters, for example.
    except csv.Error as error:
        raise MalformedFileError(f"{name}, line {line}: {error}.") from error


@contextlib.contextmanager
def _open_text(source: pathlib.Path | bytes) -> Iterator[io.TextIOWrapper]:
    """Opens a file, or what it holds, as UTF-8; other bytes become half characters."""
    with contextlib.ExitStack() as stack:
        file: Any = io.BytesIO(source) if isinstance(source, bytes) else None
        if isinstance(source, pathlib.Path):
            file = stack.enter_context(source.open("rb"))
            if source.name.lower().endswith(".gz"):
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
        yield io.TextIOWrapper(
            file, encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
