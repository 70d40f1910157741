"""Reads CSV, TSV and Parquet files by DuckDB into a table whose rows are checked.

DuckDB parses a file, keeps what it cannot parse in its table `reject_errors`, and holds
the rows, on disk where a limit of memory asks for that. What it takes for an integer is
one here only if it is written as one (`5.5` and `1_000` are not). Other times and
ratings are read by `columns`, as those of a DataFrame are.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import gzip
import io
import itertools
import mmap
import pathlib
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from tfrs_barlow.data.readers.columns import (
    DATE,
    TimeKind,
    convert,
    require_columns,
)
from tfrs_barlow.data.readers.malformed import (
    MalformedFileError,
    MalformedLines,
    malformed_line,
)

SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
PARQUET = ".parquet"

_CHUNK = 1 << 20
# Stands in a surplus field that is empty: a character that no text has.
_SURPLUS = "\x1f"
# Lines of up to 2 MB need no more memory than the rest.
_LONGEST_LINE = 1 << 28
# How many vectors of 2,048 rows are checked at a time.
_VECTORS = 128
# What `001` or `1e3` mean is not for us to say, so such ids stay strings. So do
# integers of more than 18 digits.
_LAST_INTEGER = 10**18 - 1
_PLAIN_NUMBER = "-?[0-9]{1,9}([.][0-9]{1,6})?"
_LINE_BREAK = re.compile(rb"\r\n?|\n")
_TYPES_OF_INTEGERS = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?")
_TYPES_OF_NUMBERS = re.compile(r"FLOAT|DOUBLE|DECIMAL.*")
_TYPES_OF_TIMES = re.compile(r"DATE|TIMESTAMP.*")
_TEXT = "text of a file"
_TYPES_OF_TEXT = re.compile(r"VARCHAR|ENUM.*")


@contextlib.contextmanager
def staged(
    path: pathlib.Path,
    columns: dict[str, str],
    malformed: MalformedLines,
    memory_limit: int | None = None,
) -> Iterator[Any]:
    """Reads a file into the view `log` of a database, which this closes at its end.

    The view has `row`, which is in the order of the file, `user_id`, `item_id`,
    `timestamp` and, where asked for, `rating`, `title` and `category`.

    Args:
        path: The file.
        columns: The names of columns, by argument of `read_interactions`.
        malformed: Takes the malformed rows.
        memory_limit: The bytes that DuckDB may hold; the rest goes to disk.

    Raises:
        MalformedFileError: If the file cannot be parsed, or a row is malformed.
        ValueError, TypeError: If a column is not there or of a wrong type.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="tfrs_barlow-") as folder:
        settings: dict[str, Any] = {"temp_directory": folder}
        if memory_limit is not None:
            settings["memory_limit"] = f"{memory_limit}B"
        try:
            with contextlib.closing(duckdb.connect(config=settings)) as database:
                is_parquet = path.name.lower().endswith(PARQUET)
                kind = _ParquetFile if is_parquet else _DelimitedFile
                file = kind(path, pathlib.Path(folder), columns)
                _stage(database, file, malformed)
                yield database
        except duckdb.OutOfMemoryException as error:
            raise MemoryError(
                f"{path} does not fit: memory_limit must be larger."
            ) from error
        except duckdb.Error as error:
            reason = str(error).split("\n")[0]
            raise MalformedFileError(f"{path} cannot be read: {reason}") from error


class _File:
    """A file as DuckDB sees it.

    Attributes:
        name: What errors call it.
        columns: The names of columns, by argument of `read_interactions`.
        source: Its rows, in SQL.
    """

    name: str
    columns: dict[str, str]
    source: str

    def types(self, database: Any) -> dict[str, tuple[str, str]]:
        """Returns the column for each argument, and its type, in SQL."""
        raise NotImplementedError

    def rejects(self, database: Any) -> list[int]:
        """Returns the bytes at which rows begin that could not be parsed."""
        return []

    def error(
        self, rejects: list[int], row: int | None, problem: str
    ) -> tuple[str, MalformedFileError]:
        """Returns the place of the first malformed row, and the error for it.

        Args:
            rejects: The bytes at which rows begin that could not be parsed.
            row: The number of the first row that could be, and is malformed.
            problem: What is wrong with it.
        """
        place = f"row {row}"
        return place, MalformedFileError(f"{self.name}, {place}: {problem}")


class _ParquetFile(_File):
    """A Parquet file: its columns have types."""

    def __init__(
        self,
        path: pathlib.Path,
        folder: pathlib.Path,
        columns: dict[str, str],
    ) -> None:
        self.name = str(path)
        self.columns = columns
        # In the name of a file `*` would ask for more than one.
        link = folder / f"log{PARQUET}"
        link.symlink_to(path.absolute())
        self.source = f"read_parquet({_quoted(str(link))})"

    def types(self, database: Any) -> dict[str, tuple[str, str]]:
        rows = database.execute(f"describe select * from {self.source}").fetchall()
        types = {row[0]: row[1] for row in rows}
        require_columns(list(types), self.columns, self.name)
        return {
            argument: ('"{}"'.format(name.replace('"', '""')), types[name])
            for argument, name in self.columns.items()
        }


class _DelimitedFile(_File):
    """A CSV or TSV file: all its columns are text."""

    def __init__(
        self,
        path: pathlib.Path,
        folder: pathlib.Path,
        columns: dict[str, str],
    ) -> None:
        self.name = str(path)
        self.columns = columns
        suffix = next(s for s in SEPARATORS if path.name.lower().endswith(s))
        self._separator = SEPARATORS[suffix]
        self._path = folder / "log.csv"
        if suffix.endswith(".gz"):
            self._unpack(path)
        else:
            self._path.symlink_to(path.absolute())
        self._header, skip, quotes = self._read_header()
        require_columns(self._header, columns, self.name)
        options = self._prepare(quotes)
        types = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(self._header)))
        self.source = (
            f"read_csv({_quoted(str(self._path))}, columns={{{types}}}, skip={skip}, "
            f"delim={_quoted(self._separator)}, quote='\"', escape='\"', header=false, "
            "auto_detect=false, strict_mode=true, store_rejects=true, "
            f"null_padding=false{options})"
        )

    def _unpack(self, path: pathlib.Path) -> None:
        """Writes what a gzip file holds; DuckDB would not see that its end is cut."""
        try:
            with gzip.open(path) as packed, self._path.open("wb") as file:
                while chunk := packed.read(_CHUNK):
                    file.write(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            message = f"{self.name} cannot be read: {error}."
            raise MalformedFileError(message) from error

    def _prepare(self, quotes_in_header: int) -> str:
        """Prepares the file for DuckDB, and returns the options that it needs.

        DuckDB takes one kind of line break in a file; it can lose rows behind a quote
        that never ends, and where it reads in parallel and quotes hold line breaks.
        """
        separator = self._separator.encode()
        ends = [separator + b"\n", separator + b"\r"]
        quotes, returns, *empty_ends = self._count(b'"', b"\r", *ends)
        has_quotes = quotes > quotes_in_header
        if has_quotes:
            self._require_closed_quotes()
        if returns:
            pairs, breaks = self._count(b"\r\n", b"\n")
            if quotes or (breaks and not returns == pairs == breaks):
                self._unify_line_breaks()
                returns = 0
        if any(empty_ends) or self._last_byte() == separator:
            self._mark_surplus_fields(has_plain_lines=not quotes and not returns)
        options = ", parallel=false" if has_quotes else ""
        if not returns:
            options += ", new_line='\\n'"
        return options

    def _count(self, *parts: bytes) -> list[int]:
        r"""Counts parts of the file, of which none that is asked for is cut apart."""
        counts = [0] * len(parts)
        with self._path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                cut = b"\r", self._separator.encode()
                while chunk.endswith(cut) and (more := file.read(1)):
                    chunk += more
                for number, part in enumerate(parts):
                    counts[number] += chunk.count(part)
        return counts

    def _fields_in_quotes(self, otherwise: bytes = b"") -> re.Pattern[bytes]:
        """Returns the pattern of a quoted field, which may lack the quote at its end.

        Before the quote there may be blanks. (To begin with the quote makes the search
        ten times as fast.)
        """
        ends = b"[%b\r\n]" % self._separator.encode()
        before = [b'(?<=%b%b")' % (ends, b" " * count) for count in range(33)]
        before.append(rb'(?<=\A")|(?<=\A\xef\xbb\xbf")')
        opening = b'"(?:%b)' % b"|".join(before)
        return re.compile(opening + rb'[^"]*(?:""[^"]*)*("|\Z)' + otherwise)

    def _require_closed_quotes(self) -> None:
        with _mapped(self._path) as content:
            found = self._fields_in_quotes().finditer(content)
            last = collections.deque(found, maxlen=1)
            if last and not last[0][1]:
                line = self._line_at(last[0].start())
                raise MalformedFileError(
                    f"{self.name}, line {line}: a quote opens here that is never "
                    "closed."
                )
            last.clear()

    def _unify_line_breaks(self) -> None:
        r"""Replaces the file by a copy whose rows all end in `\n`."""
        copy = self._path.with_name("copy.csv")
        with _mapped(self._path) as content, copy.open("wb") as file:
            end = 0
            for match in self._fields_in_quotes(rb"|\r\n?").finditer(content):
                if match[0].startswith(b"\r"):
                    file.write(content[end : match.start()] + b"\n")
                    end = match.end()
            while part := content[end : end + _CHUNK]:
                file.write(part)
                end += len(part)
        copy.replace(self._path)

    def _last_byte(self) -> bytes:
        with self._path.open("rb") as file:
            file.seek(-1, io.SEEK_END)
            return file.read()

    def _mark_surplus_fields(self, *, has_plain_lines: bool) -> None:
        """Makes surplus fields that are empty visible: DuckDB would drop them."""
        separator, width = self._separator.encode(), len(self._header)
        if has_plain_lines:
            with self._path.open("rb") as file:
                lines = (line for line in file if line.count(separator) >= width)
                if not any(line.rstrip(b"\r\n").endswith(separator) for line in lines):
                    return
        copy = self._path.with_name("marked.csv")
        limit = csv.field_size_limit(self._path.stat().st_size + 1)
        try:
            with io.TextIOWrapper(
                copy.open("wb"), "utf-8", errors="surrogateescape", newline=""
            ) as file:
                for _, fields in self._rows(strict=False):
                    row, self._lines.row = self._lines.row, ""
                    text = row.rstrip("\r\n")
                    is_surplus = len(fields) > width and not fields[-1]
                    file.write(text + _SURPLUS * is_surplus + row[len(text) :])
        finally:
            csv.field_size_limit(limit)
        copy.replace(self._path)

    def _read_header(self) -> tuple[list[str], int, int]:
        """Returns the names of columns, and the number of rows and quotes so far."""
        try:
            for number, (_, fields) in enumerate(self._rows(strict=True), 1):
                if fields:
                    "".join(fields).encode()
                    return fields, number, self._lines.quotes
        except (csv.Error, UnicodeEncodeError) as error:
            raise MalformedFileError(
                f"{self.name}, line {self._line}: expected the names of the columns in "
                f"UTF-8, with quotes that end, but found another text ({error})."
            ) from error
        raise MalformedFileError(f"{self.name} cannot be read: it holds no row.")

    def _rows(self, *, strict: bool) -> Iterator[tuple[int, list[str]]]:
        """Returns the line in which each row begins, from 1, and its fields, if any."""
        with io.TextIOWrapper(
            self._path.open("rb"), "utf-8-sig", errors="surrogateescape", newline=""
        ) as file:
            self._lines = _Remembering(file)
            reader = csv.reader(self._lines, delimiter=self._separator, strict=strict)
            self._line = 1
            for fields in reader:
                is_blank = len(fields) < 2 and not self._lines.last.strip(" \t\r\n")
                yield self._line, [] if is_blank else fields
                self._line = reader.line_num + 1

    def _line_of(self, row: int) -> int:
        """Returns the line in which a row begins, from 1; 0 is that of the names."""
        limit = csv.field_size_limit(self._path.stat().st_size + 1)
        try:
            lines = (line for line, fields in self._rows(strict=False) if fields)
            return next(itertools.islice(lines, row, None))
        finally:
            csv.field_size_limit(limit)

    def types(self, database: Any) -> dict[str, tuple[str, str]]:
        return {
            argument: (f"c{self._header.index(name)}", _TEXT)
            for argument, name in self.columns.items()
        }

    def rejects(self, database: Any) -> list[int]:
        rows = database.execute(
            "select line_byte_position - 1, any_value(csv_line), "
            "bool_or(error_type = 'LINE SIZE OVER MAXIMUM') from reject_errors "
            "group by 1 order by 1"
        ).fetchall()
        if any(is_long for _, _, is_long in rows) and "buffer" not in self.source:
            size = min(self._path.stat().st_size, _LONGEST_LINE) + 1
            more = f", max_line_size={size}, buffer_size={size})"
            self.source = self.source.removesuffix(")") + more
            raise _LongLineError
        return [start for start, text, _ in rows if (text or "").strip(" \t\r\n")]

    def error(
        self, rejects: list[int], row: int | None, problem: str
    ) -> tuple[str, MalformedFileError]:
        reject, found = self._row_at(rejects[0]) if rejects else (None, b"")
        if row is not None:
            # Right if no reject comes before: after one the row is not asked for.
            line = self._line_of(row + 1)
            if reject is None or line < reject:
                place = f"line {line}"
                return place, MalformedFileError(f"{self.name}, {place}: {problem}")
        assert reject is not None
        found = found.removesuffix(_SURPLUS.encode())
        form = f"{len(self._header)} fields in UTF-8"
        return f"line {reject}", malformed_line(self.name, reject, found, form)

    def _row_at(self, position: int) -> tuple[int, bytes]:
        """Returns the line of the row at a byte, or after blank lines, and the row."""
        with self._path.open("rb") as file:
            file.seek(position)
            while (byte := file.read(1)) in (b"\r", b"\n"):
                position += 1
            rest = byte + file.read(_CHUNK)
        return self._line_at(position), _LINE_BREAK.split(rest, maxsplit=1)[0]

    def _line_at(self, position: int) -> int:
        """Returns in which line a byte is, from 1."""
        line = 1
        with self._path.open("rb") as file:
            while position > 0 and (chunk := file.read(min(_CHUNK, position))):
                if chunk.endswith(b"\r"):
                    chunk += file.read(1)
                position -= len(chunk)
                line += len(_LINE_BREAK.findall(chunk))
        return line


class _LongLineError(Exception):
    """A line is longer than DuckDB was told to expect."""


class _Remembering:
    """Lines that remember the last one, those of a row, and the number of quotes."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.last = ""
        self.row = ""
        self.quotes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.last = next(self._lines)
        self.row += self.last
        self.quotes += self.last.count('"')
        return self.last


@contextlib.contextmanager
def _mapped(path: pathlib.Path) -> Iterator[mmap.mmap]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        yield content


def _quoted(text: str) -> str:
    """Returns a string as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def _stage(database: Any, file: _File, malformed: MalformedLines) -> None:
    """Makes the view `log` of the well-formed rows of a file."""
    types = file.types(database)
    try:
        rejects, unclear = _make_rows(database, file, types, as_text=set())
    except _LongLineError:
        rejects, unclear = _make_rows(database, file, types, as_text=set())
    if unclear:
        # What is not all integers, or numbers, is read anew as it is written.
        rejects, unclear = _make_rows(database, file, types, as_text=unclear)
    bad, first = 0, None
    if unclear:
        bad, first = _keep_good_rows(database, file, types)
    (good,) = database.execute("select count(*) from rows").fetchone()
    if bad or rejects:
        place, error = file.error(rejects, *(first or (None, "")))
        # If no row is good an argument is wrong, not the file: the first says why.
        if not malformed.are_skipped or (first and not good):
            raise error
        malformed.count(file.name, place, bad + len(rejects))
    if not good:
        raise ValueError(
            f"{file.name} must hold at least one row that is well-formed, but it "
            "holds none."
        )
    database.execute("create view log as select rowid as row, * from rows")


def _make_rows(
    database: Any, file: _File, types: dict[str, tuple[str, str]], as_text: set[str]
) -> tuple[list[int], set[str]]:
    """Makes the table `rows`.

    Returns:
        The bytes at which rows begin that could not be parsed, and the arguments whose
        columns lack values or are text that is still to be read.
    """
    database.execute("drop table if exists reject_errors")
    database.execute("drop table if exists reject_scans")
    fields = [
        f"{_expression(file, argument, *types[argument], argument in as_text)} "
        f"as {_NAMES[argument]}"
        for argument in types
    ]
    database.execute(
        f"create or replace table rows as select {', '.join(fields)} from {file.source}"
    )
    needed = [argument for argument in types if argument in _EXPECTED]
    counts = [f"count({_NAMES[argument]})" for argument in needed]
    total, *present = database.execute(
        f"select count(*), {', '.join(counts)} from rows"
    ).fetchone()
    unclear = as_text & {"time_column", "rating_column"}
    unclear |= {
        argument
        for argument, count in zip(needed, present, strict=True)
        if count < total
    }
    return file.rejects(database), unclear


_NAMES = {
    "user_column": "user_id",
    "item_column": "item_id",
    "rating_column": "rating",
    "time_column": "timestamp",
    "title_column": "title",
    "category_column": "category",
}
_EXPECTED = {
    "user_column": "integers or strings",
    "item_column": "integers or strings",
    "rating_column": "numbers",
    "time_column": "integers, datetimes or ISO strings",
}


def _expression(
    file: _File, argument: str, column: str, type_: str, as_text: bool
) -> str:
    """Returns the SQL of a column of the log, null where it lacks what it must hold."""
    is_text = type_ == _TEXT or bool(_TYPES_OF_TEXT.fullmatch(type_))
    if argument not in _EXPECTED:
        return f"{column}::varchar" if is_text else column
    if is_text:
        # DuckDB has null for an empty field of a CSV file already.
        text = column if type_ == _TEXT else f"nullif({column}::varchar, '')"
        is_id = argument in ("user_column", "item_column")
        if as_text or (is_id and type_ != _TEXT):
            return text
        if argument == "rating_column":
            is_plain = f"regexp_full_match({text}, '{_PLAIN_NUMBER}')"
            return f"case when {is_plain} then try_cast({text} as double) end"
        return _whole(text, bounded=is_id)
    is_integer = _TYPES_OF_INTEGERS.fullmatch(type_)
    if argument == "rating_column":
        if is_integer or _TYPES_OF_NUMBERS.fullmatch(type_):
            finite = f"case when isfinite({column}::double) then {column}::double end"
            return f"{column}::varchar" if as_text else finite
    elif is_integer:
        return f"{column}::bigint"
    elif argument == "time_column" and _TYPES_OF_TIMES.fullmatch(type_):
        unit, per_second = ("ns", 10**9) if type_ == "TIMESTAMP_NS" else ("us", 10**6)
        exact = column if "TIME" in type_ else f"{column}::timestamp"
        time = f"epoch_{unit}({exact})"
        # Rounded down before 1970, too.
        past = f"({time} % {per_second} + {per_second}) % {per_second}"
        return f"({time} - {past}) // {per_second}"
    raise TypeError(
        f"column {file.columns[argument]!r} must hold {_EXPECTED[argument]}, but it is "
        f"of type {type_} in {file.name}."
    )


def _whole(text: str, *, bounded: bool) -> str:
    """Returns the SQL of an integer, null if a text is not how it is written."""
    number = f"try_cast({text} as bigint)"
    is_whole = f"{number}::varchar = {text}"
    if bounded:
        is_whole += f" and {number} between {-_LAST_INTEGER} and {_LAST_INTEGER}"
    return f"case when {is_whole} then {number} end"


def _keep_good_rows(
    database: Any, file: _File, types: dict[str, tuple[str, str]]
) -> tuple[int, tuple[int, str] | None]:
    """Checks the table `rows` batch by batch, and keeps what is good.

    Returns:
        How many rows are bad, and the number of the first and what is wrong with it.
    """
    import pandas as pd

    has_rating = "rating_column" in types
    converted = {"rating": "double", "timestamp": "bigint"}
    if not has_rating:
        del converted["rating"]
    fields = ", ".join(f"{name} {type_}" for name, type_ in converted.items())
    database.execute(f"create table good (row bigint, {fields})")
    texts = {file.columns[role]: _NAMES[role] for role in types if role in _EXPECTED}
    cursor = database.cursor()
    cursor.execute(
        f"select {', '.join(f'{n}::varchar' for n in texts.values())} from rows"
    )
    kind: TimeKind | None = None
    total, first = 0, None
    while len(batch := cursor.fetch_df_chunk(_VECTORS)):
        batch.columns = pd.Index(texts)
        checked, numbers, problem = convert(batch, file.columns, kind)
        if problem and first is None:
            first = total + problem[0], problem[1]
        if len(numbers):
            time = str(batch[file.columns["time_column"]].iloc[numbers[0]])
            kind = "date" if re.match(DATE, time) else "integer"
            checked = checked[list(converted)]
            checked.insert(0, "row", total + numbers)
            database.execute("insert into good select * from checked")
        total += len(batch)
    ids = {role: _NAMES[role] for role in ("user_column", "item_column")}
    kept = "from rows join good on good.row = rows.rowid"
    for role, name in ids.items():
        # What was left out may have been all that was no integer.
        whole = _whole(f"{name}::varchar", bounded=True)
        query = f"select count(*) = count({whole}) {kept}"
        if types[role][1] == _TEXT and database.execute(query).fetchone()[0]:
            ids[role] = f"{whole} as {name}"
    others = [_NAMES[role] for role in types if role not in _EXPECTED]
    selected = [*ids.values(), *(f"good.{name}" for name in converted), *others]
    database.execute(
        f"create table kept as select {', '.join(selected)} {kept} order by good.row"
    )
    (good,) = database.execute("select count(*) from kept").fetchone()
    for statement in (
        "drop table rows",
        "drop table good",
        "alter table kept rename to rows",
    ):
        database.execute(statement)
    return total - good, first
