"""Reads any table of users, items and times: a DataFrame, a CSV or a Parquet file."""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.readers.columns import (
    MalformedRowError,
    require_columns,
    to_ids,
    to_ratings,
    to_seconds,
)
from tfrs_barlow.data.readers.delimited import (
    SEPARATORS,
    line_of,
    parse_integers,
    read_delimited,
    read_rows,
)
from tfrs_barlow.data.readers.malformed import (
    MalformedFileError,
    MalformedLines,
    OnMalformed,
)

_PARQUET = ".parquet"


def read_interactions(
    source: pd.DataFrame | str | os.PathLike[str],
    *,
    user_column: str,
    item_column: str,
    time_column: str,
    category_column: str | None = None,
    title_column: str | None = None,
    rating_column: str | None = None,
    category_separator: str | None = "|",
    on_malformed: OnMalformed = "raise",
) -> InteractionLog:
    """Reads a log out of a table that has one row per interaction.

    All fields of a CSV file are read as they are written: ids become integers only if
    all of the column are (and `001` is none), and the word `NA` is a name like any
    other. The first line must hold the names of the columns.

    Args:
        source: A DataFrame, or the path of a file: `.csv`, `.csv.gz`, `.tsv`,
            `.tsv.gz` or `.parquet` (which needs pyarrow).
        user_column: The users: integers or strings.
        item_column: The items: integers or strings.
        time_column: When it happened: integers, which stay as they are; datetimes; or
            ISO strings such as `"2019-01-02"` or `"2019-01-02T19:11:49+01:00"`. The
            latter two become whole seconds since 1970, rounded down; without a time
            zone they are UTC.
        category_column: The categories of the row's item: a string, which
            `category_separator` divides, a list or a tuple of strings, or nothing
            (None, NaN, `""`). An item has the categories of all of its rows, in the
            order in which they first appear.
        title_column: The title of the row's item; the first that is not missing
            or empty counts. An item without any has its id for a title.
        rating_column: Numbers.
        category_separator: Stands between two categories in one string; None if a
            string is one category.
        on_malformed: What to do with a row whose user, item, time or rating is missing
            or cannot be read, that has more fields than there are columns, or that is
            not in UTF-8: `"raise"` an error or `"skip"` it. A warning then tells how
            many rows were left out. To skip takes a file some times as long.

    Returns:
        The log, in the order of the table. `interactions` has `user_id` and `item_id`
        (integers or strings), `timestamp` (int64) and, given `rating_column`, `rating`
        (float64); `items` has the items in the order in which they first appear.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If a Parquet file is to be read without pyarrow.
        MalformedFileError: If a file cannot be parsed, or a row of it is malformed;
            the message names the line.
        ValueError: If a column is not there; if a row of a DataFrame is malformed, for
            the first such row, counted from 0; if there is no row; if a path ends in
            none of the above, or `on_malformed` is unknown.
        TypeError: If a column is of a type that is not listed above.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame(
        ...     {
        ...         "who": ["ann", "bob", "ann"],
        ...         "song": [7, 7, 9],
        ...         "when": ["2019-01-02 10:00", "2019-01-02 11:00", "2019-01-03"],
        ...         "genre": ["Rock|Live", "Rock|Blues", None],
        ...     }
        ... )
        >>> log = tfrsb.data.read_interactions(
        ...     table,
        ...     user_column="who",
        ...     item_column="song",
        ...     time_column="when",
        ...     category_column="genre",
        ... )
        >>> log.interactions["timestamp"].tolist()
        [1546423200, 1546426800, 1546473600]
        >>> log.items["categories"].tolist()
        [('Rock', 'Live', 'Blues'), ()]
    """
    if category_separator == "":
        raise ValueError("category_separator must not be empty; None divides nothing.")
    columns = {
        "user_column": user_column,
        "item_column": item_column,
        "time_column": time_column,
        "category_column": category_column,
        "title_column": title_column,
        "rating_column": rating_column,
    }
    wanted = {role: name for role, name in columns.items() if name is not None}
    malformed = MalformedLines(on_malformed)
    log = read_log(source, wanted, category_separator, malformed)
    malformed.warn()
    return log


def read_log(
    source: pd.DataFrame | str | os.PathLike[str],
    columns: dict[str, str],
    category_separator: str | None,
    malformed: MalformedLines,
) -> InteractionLog:
    """Does what `read_interactions` does, but leaves it to the caller to warn.

    Args:
        source: The table, or the path of a file.
        columns: The names of columns, by argument of `read_interactions`.
        category_separator: Stands between two categories in one string.
        malformed: Takes the malformed rows.
    """
    if isinstance(source, pd.DataFrame):
        require_columns(list(source.columns), columns, "source")
        table = _Table(source, "source")
    else:
        table = _read_file(pathlib.Path(source), columns, malformed.are_skipped)
    # Rows are named by their position, whatever the index of the table is.
    rows = table.rows[list(dict.fromkeys(columns.values()))].reset_index(drop=True)
    table = table._replace(rows=without_categories(rows))
    if malformed.are_skipped:
        table = _well_formed(table, columns, malformed)
    if table.rows.empty:
        raise ValueError(
            f"{table.name} must hold at least one row that is well-formed, but it "
            "holds none."
        )
    try:
        interactions = _to_interactions(table.rows, columns)
    except MalformedRowError as error:
        if isinstance(source, pd.DataFrame):
            raise
        raise MalformedFileError(
            f"{table.name}, {table.place(error.row)}: {error}"
        ) from error
    item_ids = interactions["item_id"]
    items = _to_items(table.rows, item_ids, columns, category_separator)
    return InteractionLog(interactions, items)


class _Table(NamedTuple):
    """A table, and what messages call it and its rows.

    Attributes:
        rows: The table.
        name: Where it comes from.
        separator: What stands between two fields, if it comes from a file with lines.
        lines: The line each row begins in, if that is known already.
        left_out: The lines of rows that were left out on reading.
    """

    rows: pd.DataFrame
    name: str
    separator: str | None = None
    lines: list[int] | None = None
    left_out: Sequence[int] = ()

    def place(self, row: int) -> str:
        """Returns what to call a row."""
        if self.separator is None:
            return f"row {row}"
        if self.lines is None:
            return f"line {line_of(pathlib.Path(self.name), self.separator, row)}"
        return f"line {self.lines[row]}"


def _read_file(
    path: pathlib.Path, wanted: dict[str, str], line_by_line: bool
) -> _Table:
    """Reads the file at `path`, which must have the columns `wanted`."""
    suffix = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
    suffix = suffix.lower()
    if suffix != _PARQUET and suffix not in SEPARATORS:
        raise ValueError(
            "source must be a DataFrame or a file that ends in "
            f"{', '.join([*SEPARATORS, _PARQUET])}, but it is {path}."
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or it is no file.")
    if suffix == _PARQUET:
        return _Table(_read_parquet(path, wanted), str(path))
    separator = SEPARATORS[suffix]
    if line_by_line:
        rows, lines, left_out = read_rows(path, separator, wanted)
        return _Table(rows, str(path), separator, lines, left_out)
    rows = read_delimited(path, separator, wanted, str(path))
    return _Table(rows, str(path), separator)


def _read_parquet(path: pathlib.Path, wanted: dict[str, str]) -> pd.DataFrame:
    """Reads the wanted columns of a Parquet file."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            f"{path} can be read with pyarrow only, which is not installed: "
            "pip install 'tfrs-barlow[parquet]'."
        ) from error
    try:
        present = parquet.read_schema(path).names
        require_columns(present, wanted, str(path))
        names = list(dict.fromkeys(wanted.values()))
        # Without what pandas notes about its index: a column stays a column.
        table = parquet.read_table(path, columns=names)
        # With a value missing integers would become floats, which round large ones.
        return table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    # pyarrow reports a damaged page as an OSError.
    except (importlib.import_module("pyarrow").ArrowInvalid, OSError) as error:
        raise MalformedFileError(f"{path} cannot be read: {error}") from error


def without_categories(table: pd.DataFrame) -> pd.DataFrame:
    """Gives columns of a categorical type that of their values."""
    return table.astype(dict.fromkeys(table.select_dtypes("category"), object))


def _well_formed(
    table: _Table, columns: dict[str, str], malformed: MalformedLines
) -> _Table:
    """Returns the rows that can be read, or all of them if none can.

    An argument is wrong then, not the file: what is wrong with the first row tells.

    Args:
        table: The rows.
        columns: The names of columns, by argument of `read_interactions`.
        malformed: Takes the others.
    """
    rows = table.rows
    numbers = np.arange(len(rows))
    while not rows.empty:
        try:
            _to_interactions(rows, columns)
            break
        except MalformedRowError as error:
            numbers = numbers[error.is_good]
            # Integers beside a missing value had become floats.
            rows = rows[error.is_good].reset_index(drop=True).convert_dtypes()
    if rows.empty:
        return table
    left_out = np.delete(np.arange(len(table.rows)), numbers)
    if table.lines is None:
        places = [f"row {row}" for row in left_out]
    else:
        lines = sorted([*table.left_out, *(table.lines[row] for row in left_out)])
        places = [f"line {line}" for line in lines]
        # What was left out may have been all that was no integer.
        rows = parse_integers(rows, {columns["user_column"], columns["item_column"]})
    for place in places:
        malformed.count(table.name, place)
    return table._replace(rows=rows)


def _to_interactions(table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Makes the interactions of a log.

    Args:
        table: One row per interaction.
        columns: The names of columns, by argument of `read_interactions`.

    Raises:
        MalformedRowError: If rows cannot be read, for one column of them.
        TypeError: If a column is of a wrong type.
    """
    interactions = pd.DataFrame(
        {
            "user_id": to_ids(table[columns["user_column"]]),
            "item_id": to_ids(table[columns["item_column"]]),
        }
    )
    if "rating_column" in columns:
        interactions["rating"] = to_ratings(table[columns["rating_column"]])
    interactions["timestamp"] = to_seconds(table[columns["time_column"]])
    return interactions


def _to_items(
    table: pd.DataFrame,
    item_ids: pd.Series,
    columns: dict[str, str],
    category_separator: str | None,
) -> pd.DataFrame:
    """Makes the items of a log.

    Args:
        table: One row per interaction.
        item_ids: `[rows]`
        columns: The names of columns, by argument of `read_interactions`.
        category_separator: Stands between two categories in one string.
    """
    nothing = pd.Series(None, index=table.index, dtype=object)

    def column(argument: str) -> pd.Series:
        return table[columns[argument]] if argument in columns else nothing

    codes, names = pd.factorize(item_ids)
    items = pd.DataFrame({"item_id": names})
    items["title"] = _titles(codes, names, column("title_column"))
    categories = column("category_column")
    items["categories"] = _categories(codes, len(names), categories, category_separator)
    return items


def _titles(codes: npt.NDArray[np.intp], ids: Any, column: pd.Series) -> list[str]:
    """Chooses a title for each item: the first that is not missing, or else its id.

    Args:
        codes: [rows] The position of the row's item in `ids`.
        ids: [items]
        column: [rows] The titles.
    """
    titles: dict[int, str] = {}
    for row, code, title in _values_by_item(codes, column):
        if not isinstance(title, str):
            raise TypeError(
                f"column {column.name!r} must hold strings, but row {row} is {title!r}."
            )
        if title:
            titles.setdefault(code, title)
    return [titles.get(code, str(name)) for code, name in enumerate(ids)]


def _categories(
    codes: npt.NDArray[np.intp],
    num_items: int,
    column: pd.Series,
    separator: str | None,
) -> list[tuple[str, ...]]:
    """Joins the categories of each item's rows, in order of their first appearance.

    Args:
        codes: [rows] The position of the row's item.
        num_items: The number of items.
        column: [rows] The categories.
        separator: What divides a string.
    """
    # Of a dict, the keys: a set that remembers the order.
    categories: list[dict[str, None]] = [{} for _ in range(num_items)]
    for row, code, value in _values_by_item(codes, column):
        names = value
        if isinstance(value, str):
            names = (value,) if separator is None else value.split(separator)
        if not isinstance(names, tuple | list) or not all(
            isinstance(name, str) for name in names
        ):
            raise TypeError(
                f"column {column.name!r} must hold strings or lists or tuples of "
                f"strings, but row {row} is {value!r}."
            )
        stripped = (name.strip() for name in names)
        categories[code].update(dict.fromkeys(name for name in stripped if name))
    return [tuple(names) for names in categories]


def _values_by_item(
    codes: npt.NDArray[np.intp], column: pd.Series
) -> Iterator[tuple[int, int, Any]]:
    """Returns each value that an item has, once, with the first row that has it.

    Missing values are left out; lists, which cannot be compared fast, become tuples.

    Args:
        codes: [rows] The position of the row's item.
        column: [rows] The values.
    """
    values = column.astype(object).map(_hashable)
    pairs = pd.DataFrame({"item": codes, "value": values})
    pairs = pairs[values.notna()]
    # What cannot be compared is of a wrong type, which the caller says better.
    with contextlib.suppress(TypeError):
        pairs = pairs.drop_duplicates()
    return zip(pairs.index, pairs["item"], pairs["value"], strict=True)


def _hashable(value: Any) -> Any:
    """Turns a list, or what Parquet has for one, into a tuple."""
    return tuple(value) if isinstance(value, list | np.ndarray) else value
