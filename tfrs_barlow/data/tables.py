"""Reads any table of users, items and times: a DataFrame, a CSV or a Parquet file."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import os
import pathlib
import re
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.malformed import MalformedFileError

SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
_PARQUET = ".parquet"

# What `001` or `1e3` mean is not for us to say, so those stay strings. 18 digits fit
# int64.
_INTEGER = r"(?:0|-?[1-9][0-9]{0,17})"
# pandas takes "1546" for a year otherwise.
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"


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

    Returns:
        The log, in the order of the table. `interactions` has `user_id` and `item_id`
        (integers or strings), `timestamp` (int64) and, given `rating_column`, `rating`
        (float64); `items` has the items in the order in which they first appear.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If a Parquet file is to be read without pyarrow.
        MalformedFileError: If a file cannot be parsed.
        ValueError: If a column is not there, or a user, an item, a time or a rating is
            missing or cannot be read, for the first such row, counted from 0; if there
            is no row; if a path ends in none of the above.
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
    if isinstance(source, pd.DataFrame):
        table = source
        require_columns(list(table.columns), wanted, "source")
    else:
        table = _read_file(pathlib.Path(source), wanted)
    if table.empty:
        raise ValueError("source must hold at least one row, but it is empty.")
    # Rows are named by their position, whatever the index of the table is.
    table = table[list(dict.fromkeys(wanted.values()))].reset_index(drop=True)
    table = without_categories(table)

    interactions = pd.DataFrame(
        {
            "user_id": to_ids(table[user_column]),
            "item_id": to_ids(table[item_column]),
        }
    )
    if rating_column is not None:
        interactions["rating"] = _to_ratings(table[rating_column])
    interactions["timestamp"] = to_seconds(table[time_column])

    codes, item_ids = pd.factorize(interactions["item_id"])
    items = pd.DataFrame({"item_id": item_ids})
    nothing = pd.Series(None, index=table.index, dtype=object)
    items["title"] = _titles(
        codes, item_ids, table[title_column] if title_column is not None else nothing
    )
    items["categories"] = _categories(
        codes,
        len(item_ids),
        table[category_column] if category_column is not None else nothing,
        category_separator,
    )
    return InteractionLog(interactions, items)


def require_columns(present: list[Any], wanted: dict[str, str], source: str) -> None:
    """Checks that `present` has each of the columns in `wanted` once.

    Args:
        present: The names of the columns.
        wanted: The names that are needed, by argument.
        source: Where the columns are.
    """
    for argument, name in wanted.items():
        if present.count(name) != 1:
            problem = "more than one such" if name in present else "no such"
            raise ValueError(
                f"{argument} must name a column of {source}, but {name!r} names "
                f"{problem} column; it has {', '.join(map(str, present))}."
            )


def _read_file(path: pathlib.Path, wanted: dict[str, str]) -> pd.DataFrame:
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
        return _read_parquet(path, wanted)
    return read_delimited(path, SEPARATORS[suffix], wanted, str(path))


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
        return table.to_pandas(ignore_metadata=True)
    # pyarrow reports a damaged page as an OSError.
    except (importlib.import_module("pyarrow").ArrowInvalid, OSError) as error:
        raise MalformedFileError(f"{path} cannot be read: {error}") from error


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

    def read(**options: Any) -> pd.DataFrame:
        file: Any = io.BytesIO(source) if isinstance(source, bytes) else source
        return pd.read_csv(file, sep=separator, index_col=False, **options)

    try:
        present = list(read(nrows=0))
        require_columns(present, wanted, name)
        types: dict[Any, Any] = {key: str for key in present if key not in numbers}
        with warnings.catch_warnings():
            # This is how pandas says that it cuts off fields that no column is for.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = read(dtype=types, keep_default_na=False, low_memory=False)
    except (
        EOFError,
        UnicodeDecodeError,
        gzip.BadGzipFile,
        pd.errors.EmptyDataError,
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        zlib.error,
    ) as error:
        raise MalformedFileError(f"{name} cannot be read: {error}") from error
    for column in {wanted["user_column"], wanted["item_column"]} - numbers:
        table[column] = _parse_integers(table[column])
    return table


def _parse_integers(column: pd.Series) -> pd.Series:
    """Turns a column of strings into integers, if all of it are."""
    codes, texts = pd.factorize(column)
    if (codes < 0).any() or not all(re.fullmatch(_INTEGER, text) for text in texts):
        return column
    return pd.Series(texts.astype(np.int64).to_numpy()[codes], name=column.name)


def without_categories(table: pd.DataFrame) -> pd.DataFrame:
    """Gives columns of a categorical type that of their values."""
    return table.astype(dict.fromkeys(table.select_dtypes("category"), object))


def to_ids(column: pd.Series) -> pd.Series:
    """Checks that a column holds integers or strings, and gives it a plain type."""
    kind = _require_present(column)
    if kind == "integer":
        return _to_int64(column)
    if kind == "string":
        return column.astype(str)
    raise _wrong_type(column, kind, "integers or strings")


def _to_ratings(column: pd.Series) -> pd.Series:
    """Turns a column of numbers into float64."""
    kind = _require_present(column)
    if kind not in ("integer", "floating", "mixed-integer-float", "string"):
        raise _wrong_type(column, kind, "numbers")
    ratings = pd.to_numeric(column, errors="coerce").astype(np.float64)
    _require(ratings.abs() < np.inf, column, "a finite number")
    return ratings


def to_seconds(column: pd.Series) -> pd.Series:
    """Turns a column of times into integers, of seconds unless they were integers."""
    kind = _require_present(column)
    if kind == "integer":
        return _to_int64(column)
    if kind == "string":
        column = column.astype(str)
        is_integer = column.str.fullmatch(_INTEGER)
        if is_integer.iloc[0]:
            _require(is_integer, column, "an integer, as in the rows before it")
            return column.astype(np.int64)
        is_date = column.str.match(DATE)
        times = pd.to_datetime(
            column.where(is_date), format="ISO8601", utc=True, errors="coerce"
        )
        _require(times.notna(), column, "an ISO date and time, or integers in all rows")
    elif kind in ("date", "datetime", "datetime64"):
        times = pd.to_datetime(column, utc=True)
    else:
        raise _wrong_type(column, kind, "integers, datetimes or ISO strings")
    # A second before 1970 is rounded down as any other, so that the order is kept.
    whole = times.dt.tz_localize(None).dt.floor("s")
    return whole.astype("datetime64[s]").astype(np.int64)


def _require_present(column: pd.Series) -> str:
    """Checks that no value is missing.

    Returns:
        What the values are, as `pandas.api.types.infer_dtype` has it.
    """
    missing = column.isna()
    if not pd.api.types.is_numeric_dtype(column.dtype):
        missing |= column.astype(object) == ""
    if missing.any():
        raise ValueError(
            f"column {column.name!r} must not have missing values, but row "
            f"{missing.to_numpy(bool).argmax()} has one."
        )
    return pd.api.types.infer_dtype(column)


def _to_int64(column: pd.Series) -> pd.Series:
    """Turns a column of integers into int64."""
    bounds = np.iinfo(np.int64)
    fits = [
        bounds.min <= int(value) <= bounds.max for value in (column.min(), column.max())
    ]
    if not all(fits):
        raise ValueError(
            f"column {column.name!r} must hold integers of 64 bits, but it holds "
            f"{column.min()} to {column.max()}."
        )
    return column.astype(np.int64)


def _require(good: pd.Series, column: pd.Series, expected: str) -> None:
    """Checks that all rows are good, and names the first that is not."""
    if not good.all():
        row = int(good.to_numpy(bool).argmin())
        raise ValueError(
            f"column {column.name!r}, row {row}: expected {expected}, but found "
            f"{_value(column, row)!r}."
        )


def _wrong_type(column: pd.Series, kind: str, expected: str) -> TypeError:
    """Builds the error for a column of the type `kind`."""
    return TypeError(
        f"column {column.name!r} must hold {expected}, but it is of type "
        f"{column.dtype} and holds values of the kind {kind!r}, "
        f"{_value(column, 0)!r} for example."
    )


def _value(column: pd.Series, row: int) -> Any:
    """Returns a value as Python has it: `1.5`, not `np.float64(1.5)`."""
    return column.iloc[[row]].tolist()[0]


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
