"""Reads any table of users, items and times: a DataFrame, a file or a dataset."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.readers.columns import convert, require_columns
from tfrs_barlow.data.readers.files import PARQUET, SEPARATORS, staged
from tfrs_barlow.data.readers.json_lines import (
    decompressed,
    numbered_lines,
    parse_object,
)
from tfrs_barlow.data.readers.malformed import (
    MalformedFileError,
    MalformedLines,
    OnMalformed,
    malformed_line,
)

_BY_DATABASE = (*SEPARATORS, PARQUET)
_JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_ROWS_AT_ONCE = 1 << 14


def read_interactions(
    source: pd.DataFrame | tf.data.Dataset | str | os.PathLike[str],
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
    all of the column are (and `001` is not one), and the word `NA` is a name like any
    other. The first line must hold the names of the columns.

    Args:
        source: A DataFrame; a `tf.data.Dataset` of dicts, batched or not, whose strings
            are UTF-8; or the path of a file: `.csv`, `.tsv`, `.parquet`, or `.jsonl` or
            `.ndjson` with a JSON object in each line. All but Parquet files may be
            compressed, with `.gz` behind their names.
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
            or cannot be read, that has more or fewer fields than there are columns, or
            that is not in UTF-8: `"raise"` an error or `"skip"` it. A warning then says
            how many rows were left out.

    Returns:
        The log, in the order of the table. `interactions` has `user_id` and `item_id`
        (integers or strings), `timestamp` (int64) and, given `rating_column`, `rating`
        (float64); `items` has the items in the order in which they first appear.

    Raises:
        FileNotFoundError: If there is no such file.
        MalformedFileError: If a file cannot be parsed, or a row of it is malformed;
            the message names the line, or the row of a Parquet file, from 0.
        ValueError: If a column is not there; if a row of a DataFrame or a dataset is
            malformed, for the first such row, counted from 0; if there is no row; if a
            path ends in nothing of the above, or `on_malformed` is unknown.
        TypeError: If an argument or a column is of a type that is not listed above.

    Examples:
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
    columns = check_columns(
        user_column=user_column,
        item_column=item_column,
        rating_column=rating_column,
        time_column=time_column,
        category_column=category_column,
        title_column=title_column,
    )
    if category_separator is not None:
        _checks.text("category_separator", category_separator)
    malformed = MalformedLines(on_malformed)
    log = read_log(source, columns, category_separator, malformed)
    malformed.warn()
    return log


def check_columns(**columns: str | None) -> dict[str, str]:
    """Returns the names of columns that were given, by argument."""
    given = {}
    for argument, name in columns.items():
        if name is not None or argument in (
            "user_column",
            "item_column",
            "time_column",
        ):
            given[argument] = _checks.text(argument, name)
    return given


def read_log(
    source: Any,
    columns: dict[str, str],
    category_separator: str | None,
    malformed: MalformedLines,
) -> InteractionLog:
    """Does what `read_interactions` does, but leaves it to the caller to warn."""
    if isinstance(source, pd.DataFrame):
        require_columns(list(source.columns), columns, "source")
        read = _read_table(source, columns, malformed)
    elif isinstance(source, tf.data.Dataset):
        read = _read_table(_read_dataset(source, columns), columns, malformed)
    elif isinstance(source, str | os.PathLike):
        path = pathlib.Path(source)
        if is_read_by_database(path):
            read = _read_staged(path, columns, malformed)
        else:
            read = _read_json_lines(path, columns, malformed)
    else:
        raise TypeError(
            "source must be a DataFrame, a tf.data.Dataset or the path of a file, but "
            f"it is {source!r}."
        )
    interactions, titles, categories = read
    items = _to_items(interactions["item_id"], titles, categories, category_separator)
    return InteractionLog(interactions, items)


def is_read_by_database(path: pathlib.Path) -> bool:
    """Whether DuckDB reads a file, or it holds JSON lines; checks that it is there."""
    name = path.name.lower()
    suffixes = (*_BY_DATABASE, *_JSON_LINES)
    if not name.endswith(suffixes):
        raise ValueError(
            "source must be a DataFrame, a tf.data.Dataset or a file that ends in "
            f"{', '.join(suffixes)}, but it is {path}."
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or it is not a file.")
    return name.endswith(_BY_DATABASE)


_Read = tuple[pd.DataFrame, pd.Series, pd.Series]


def _read_staged(
    path: pathlib.Path, columns: dict[str, str], malformed: MalformedLines
) -> _Read:
    """Reads a CSV, TSV or Parquet file."""
    names = ["user_id", "item_id", "timestamp"]
    if "rating_column" in columns:
        names.insert(2, "rating")
    described = [name for name in ("title", "category") if f"{name}_column" in columns]
    with staged(path, columns, malformed) as database:
        arrays = database.execute(
            f"select {', '.join([*names, *described])} from log"
        ).fetchnumpy()
    columns_of_log = {name: pd.Series(np.ma.getdata(arrays[name])) for name in names}

    def described_by(name: str) -> pd.Series:
        values = np.ma.getdata(arrays[name]).astype(object)
        values[np.ma.getmaskarray(arrays[name])] = None
        return pd.Series(values, name=columns[f"{name}_column"], dtype=object)

    nothing = pd.Series(None, index=range(len(arrays["user_id"])), dtype=object)
    titles, categories = (
        described_by(name) if name in described else nothing
        for name in ("title", "category")
    )
    interactions = pd.DataFrame(columns_of_log).infer_objects()
    return interactions, titles, categories


def _read_dataset(dataset: tf.data.Dataset, columns: dict[str, str]) -> pd.DataFrame:
    """Reads a dataset of dicts, batched or not; strings are decoded."""
    spec = dataset.element_spec
    if not isinstance(spec, dict):
        raise TypeError(
            "source must be a dataset of dicts, but the elements of it are of the "
            f"type {type(spec).__name__}."
        )
    require_columns(list(spec), columns, "source")
    names = list(dict.fromkeys(columns.values()))
    wanted = dataset.map(lambda row: {name: row[name] for name in names})
    is_batched = spec[columns["user_column"]].shape.rank != 0
    if not is_batched:
        wanted = wanted.ragged_batch(_ROWS_AT_ONCE)
    parts: dict[str, list[Any]] = {name: [] for name in names}
    for batch in wanted:
        for name, values in batch.items():
            is_ragged = isinstance(values, tf.RaggedTensor)
            rows = values.to_list() if is_ragged else values.numpy().tolist()
            parts[name].extend(_decoded(row, name) for row in rows)
    return pd.DataFrame({name: pd.Series(rows) for name, rows in parts.items()})


def _decoded(value: Any, name: str) -> Any:
    """Turns bytes, and those in a list, into text."""
    if isinstance(value, list):
        return [_decoded(one, name) for one in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"column {name!r} of source must hold UTF-8, but a value is {value!r}."
        ) from error


def _read_table(
    table: pd.DataFrame, columns: dict[str, str], malformed: MalformedLines
) -> _Read:
    """Reads a table in memory."""
    checked, numbers, first = _convert(table, columns, "source")
    if first is not None:
        row, problem = first
        if not malformed.are_skipped or checked.empty:
            raise ValueError(problem)
        malformed.count("source", f"row {row}", len(table) - len(numbers))
    return checked, *_descriptions(table, columns, numbers)


def _convert(
    table: pd.DataFrame, columns: dict[str, str], name: str
) -> tuple[pd.DataFrame, npt.NDArray[np.intp], tuple[int, str] | None]:
    """Calls `convert`, for which rows have the numbers that messages give them."""
    if table.empty:
        raise ValueError(
            f"{name} must hold at least one row that is well-formed, but it holds none."
        )
    rows = table[list(dict.fromkeys(columns.values()))].reset_index(drop=True)
    return convert(without_categories(rows), columns)


def without_categories(table: pd.DataFrame) -> pd.DataFrame:
    """Gives columns of a categorical type that of their values."""
    return table.astype(dict.fromkeys(table.select_dtypes("category"), object))


def _descriptions(
    table: pd.DataFrame, columns: dict[str, str], numbers: npt.NDArray[np.intp]
) -> tuple[pd.Series, pd.Series]:
    """Returns the titles and the categories of some rows."""

    def column(argument: str) -> pd.Series:
        if argument not in columns:
            return pd.Series(None, index=range(len(numbers)), dtype=object)
        return table[columns[argument]].iloc[numbers].reset_index(drop=True)

    return column("title_column"), column("category_column")


def _read_json_lines(
    path: pathlib.Path, columns: dict[str, str], malformed: MalformedLines
) -> _Read:
    """Reads a file with a JSON object in each line."""
    names = list(dict.fromkeys(columns.values()))
    form = f"a JSON object with {', '.join(names)}"
    rows: list[list[Any]] = []
    lines: list[int] = []
    left_out: dict[int, MalformedFileError] = {}
    present: dict[str, None] = {}
    number = 0
    with path.open("rb") as file:
        for number, line in numbered_lines(decompressed(file), str(path)):
            if line.isspace():
                continue
            try:
                fields = parse_object(line)
            except ValueError as error:
                left_out[number] = malformed_line(path, number, line, form)
                left_out[number].__cause__ = error
                continue
            present.update(dict.fromkeys(fields))
            rows.append([fields.get(name) for name in names])
            lines.append(number)
    if rows:
        require_columns(list(present), columns, str(path))
    elif left_out:
        raise left_out[min(left_out)]
    table = pd.DataFrame(rows, columns=names, dtype=object)
    try:
        checked, numbers, first = _convert(table, columns, str(path))
    except TypeError as error:
        raise MalformedFileError(f"{path}: {error}") from error
    for row in np.delete(np.arange(len(rows)), numbers):
        problem = first[1] if first and row == first[0] else ""
        number = lines[row]
        left_out[number] = MalformedFileError(f"{path}, line {number}: {problem}")
    if left_out:
        number = min(left_out)
        if not malformed.are_skipped or checked.empty:
            raise left_out[number]
        malformed.count(str(path), f"line {number}", len(left_out))
    return checked, *_descriptions(table, columns, numbers)


def _to_items(
    item_ids: pd.Series,
    titles: pd.Series,
    categories: pd.Series,
    category_separator: str | None,
) -> pd.DataFrame:
    """Makes the items of a log from what its rows say about them."""
    codes, names = pd.factorize(item_ids)
    items = pd.DataFrame({"item_id": names})
    items["title"] = _titles(codes, names, titles)
    items["categories"] = _categories(codes, len(names), categories, category_separator)
    return items


def _titles(codes: npt.NDArray[np.intp], ids: Any, column: pd.Series) -> list[str]:
    """Chooses a title for each item: the first that is not missing, or else its id."""
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
    """Joins the categories of each item's rows, in order of their first appearance."""
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
