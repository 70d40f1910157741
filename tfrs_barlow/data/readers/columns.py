"""What a column of a table must hold to be users, items, times or ratings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

# A time is an integer in any notation that pandas reads as one.
_WHOLE_NUMBER = r"(?a:\s*[+-]?[0-9]+\s*)"
# pandas takes "1546" for a year otherwise.
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"

TimeKind = Literal["integer", "date"]


class MalformedRowError(ValueError):
    """Rows of a column are missing or do not hold what they should.

    Attributes:
        is_good: `[rows]`, which rows do.
        row: The first that does not.
        problem: What is wrong, with `{row}` for the number of the first bad row.
    """

    def __init__(self, is_good: pd.Series, problem: str) -> None:
        self.is_good: npt.NDArray[np.bool_] = is_good.to_numpy(bool)
        self.row = int(self.is_good.argmin())
        self.problem = problem
        super().__init__(problem.replace("{row}", str(self.row), 1))


def require_columns(
    present: Sequence[Any], wanted: dict[str, str], source: str
) -> None:
    """Checks that `present` has each column of `wanted`, by argument, once."""
    names = list(present)
    for argument, name in wanted.items():
        if names.count(name) != 1:
            problem = "more than one such" if name in names else "no such"
            raise ValueError(
                f"{argument} must name a column of {source}, but {name!r} names "
                f"{problem} column; it has {', '.join(map(str, names))}."
            )


def convert(
    table: pd.DataFrame, columns: dict[str, str], time_kind: TimeKind | None = None
) -> tuple[pd.DataFrame, npt.NDArray[np.intp], tuple[int, str] | None]:
    """Makes users, items, ratings and times out of the rows that hold such.

    Args:
        table: One row per interaction, numbered from 0.
        columns: The names of columns, by argument of `read_interactions`.
        time_kind: What times must be; None to take the kind of the first good one.

    Returns:
        The good rows with the columns of a log, their numbers, and the first bad row
        with what is wrong with it.
    """
    steps: list[tuple[str, str, Callable[[pd.Series], pd.Series]]] = [
        ("user_id", "user_column", to_ids),
        ("item_id", "item_column", to_ids),
        ("rating", "rating_column", to_ratings),
        ("timestamp", "time_column", lambda times: to_seconds(times, time_kind)),
    ]
    numbers = np.arange(len(table))
    first: tuple[int, str] | None = None
    while len(numbers):
        converted = {}
        try:
            for name, argument, step in steps:
                if argument in columns:
                    converted[name] = step(table[columns[argument]])
        except MalformedRowError as error:
            row = int(numbers[error.row])
            if first is None or row < first[0]:
                first = row, error.problem.replace("{row}", str(row), 1)
            numbers = numbers[error.is_good]
            # Integers with a missing value between them had become floats.
            table = table[error.is_good].reset_index(drop=True).convert_dtypes()
            continue
        return pd.DataFrame(converted), numbers, first
    return pd.DataFrame(), numbers, first


def to_ids(column: pd.Series) -> pd.Series:
    """Checks that a column holds integers or strings, and gives it a plain type."""
    kind = _require_present(column)
    if kind == "integer":
        return _to_int64(column)
    if kind == "string":
        return column.astype(str)
    raise _wrong_type(column, kind, "integers or strings")


def to_ratings(column: pd.Series) -> pd.Series:
    """Turns a column of numbers into float64."""
    kind = _require_present(column)
    if kind not in ("integer", "floating", "mixed-integer-float", "string"):
        raise _wrong_type(column, kind, "numbers")
    ratings = pd.to_numeric(column, errors="coerce").astype(np.float64)
    _require(ratings.abs() < np.inf, column, "a finite number")
    return ratings


def time_kind(column: pd.Series) -> TimeKind | None:
    """Returns what the first string is that is a time, if any is."""
    present = column.dropna().astype(str)
    is_integer = present.str.fullmatch(_WHOLE_NUMBER)
    is_time = (is_integer | _parse_dates(present).notna()).to_numpy(bool)
    if not is_time.any():
        return None
    return "integer" if is_integer.iloc[int(is_time.argmax())] else "date"


def to_seconds(column: pd.Series, expected: TimeKind | None = None) -> pd.Series:
    """Turns a column of times into integers, of seconds unless they were integers.

    All strings must be of the same kind: of the `expected` one or of the first.
    """
    kind = _require_present(column)
    if kind == "integer":
        return _to_int64(column)
    if kind == "string":
        column = column.astype(str)
        if (expected or time_kind(column)) == "integer":
            is_integer = column.str.fullmatch(_WHOLE_NUMBER)
            _require(is_integer, column, "an integer, as in other rows")
            return _to_int64(column.map(int))
        times = _parse_dates(column)
        _require(times.notna(), column, "an ISO date and time, or integers in all rows")
    elif kind in ("date", "datetime", "datetime64"):
        times = pd.to_datetime(column, utc=True)
    else:
        raise _wrong_type(column, kind, "integers, datetimes or ISO strings")
    # A second before 1970 is rounded down as any other, so that the order is kept.
    whole = times.dt.tz_localize(None).dt.floor("s")
    return whole.astype("datetime64[s]").astype(np.int64)


def _parse_dates(column: pd.Series) -> pd.Series:
    """Parses ISO dates; anything else is missing in the result."""
    dates = column.where(column.str.match(DATE))
    return pd.to_datetime(dates, format="ISO8601", utc=True, errors="coerce")


def _require_present(column: pd.Series) -> str:
    """Checks that no value is missing, and returns their kind as pandas infers it."""
    missing = column.isna()
    if not pd.api.types.is_numeric_dtype(column.dtype):
        missing |= column.astype(object) == ""
    if missing.any():
        raise MalformedRowError(~missing.astype(bool), missing_value(str(column.name)))
    return pd.api.types.infer_dtype(column)


def missing_value(name: str) -> str:
    """Says that a value of a column is missing in row `{row}`."""
    return f"column {name!r} must not have missing values, but row {{row}} has one."


def _to_int64(column: pd.Series) -> pd.Series:
    """Turns a column of integers into int64."""
    bounds = np.iinfo(np.int64)
    if not all(
        bounds.min <= int(value) <= bounds.max for value in (column.min(), column.max())
    ):
        fits = column.map(lambda value: bounds.min <= int(value) <= bounds.max)
        raise MalformedRowError(
            fits.astype(bool),
            f"column {column.name!r} must hold integers of 64 bits, but it holds "
            f"{column.min()} to {column.max()}.",
        )
    return column.astype(np.int64)


def _require(is_good: pd.Series, column: pd.Series, expected: str) -> None:
    """Checks that all rows are good, and names the first that is not."""
    if not is_good.all():
        found = _value(column, int(is_good.to_numpy(bool).argmin()))
        raise MalformedRowError(
            is_good,
            f"column {column.name!r}, row {{row}}: expected {expected}, but found "
            f"{found!r}.",
        )


def _wrong_type(column: pd.Series, kind: str, expected: str) -> TypeError:
    return TypeError(
        f"column {column.name!r} must hold {expected}, but it is of type "
        f"{column.dtype} and holds values of the kind {kind!r}, "
        f"{_value(column, 0)!r} for example."
    )


def _value(column: pd.Series, row: int) -> Any:
    """Returns a value as Python has it: `1.5`, not `np.float64(1.5)`."""
    return column.iloc[[row]].tolist()[0]
