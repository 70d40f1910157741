"""What a column of a table must hold to be users, items, times or ratings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

# What `001` or `1e3` mean is not for us to say, so those stay strings. 18 digits fit
# int64.
INTEGER = r"(?:0|-?[1-9][0-9]{0,17})"
# A time is one in any writing that pandas takes for an integer.
_WHOLE_NUMBER = r"(?a:\s*[+-]?[0-9]+\s*)"
# pandas takes "1546" for a year otherwise.
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"


class MalformedRowError(ValueError):
    """Rows of a column are missing or do not hold what they should.

    Attributes:
        is_good: `[rows]`, which rows do.
        row: The first that does not.
    """

    def __init__(self, is_good: pd.Series, problem: str) -> None:
        """Initializes the error.

        Args:
            is_good: `[rows]`, which rows hold what they should.
            problem: What is wrong, with `{row}` for the number of the first bad row.
        """
        self.is_good: npt.NDArray[np.bool_] = is_good.to_numpy(bool)
        self.row = int(self.is_good.argmin())
        super().__init__(problem.replace("{row}", str(self.row), 1))


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


def to_seconds(column: pd.Series) -> pd.Series:
    """Turns a column of times into integers, of seconds unless they were integers."""
    kind = _require_present(column)
    if kind == "integer":
        return _to_int64(column)
    if kind == "string":
        column = column.astype(str)
        is_integer = column.str.fullmatch(_WHOLE_NUMBER)
        times = _parse_dates(column)
        # The first row that is either says which of them the others must be.
        if is_integer.iloc[int((is_integer | times.notna()).to_numpy(bool).argmax())]:
            _require(is_integer, column, "an integer, as in other rows")
            return _to_int64(column.map(int))
        _require(times.notna(), column, "an ISO date and time, or integers in all rows")
    elif kind in ("date", "datetime", "datetime64"):
        times = pd.to_datetime(column, utc=True)
    else:
        raise _wrong_type(column, kind, "integers, datetimes or ISO strings")
    # A second before 1970 is rounded down as any other, so that the order is kept.
    whole = times.dt.tz_localize(None).dt.floor("s")
    return whole.astype("datetime64[s]").astype(np.int64)


def _parse_dates(column: pd.Series) -> pd.Series:
    """Parses ISO dates; what is none is missing in the result."""
    dates = column.where(column.str.match(DATE))
    return pd.to_datetime(dates, format="ISO8601", utc=True, errors="coerce")


def _require_present(column: pd.Series) -> str:
    """Checks that no value is missing.

    Returns:
        What the values are, as `pandas.api.types.infer_dtype` has it.
    """
    missing = column.isna()
    if not pd.api.types.is_numeric_dtype(column.dtype):
        missing |= column.astype(object) == ""
    if missing.any():
        raise MalformedRowError(
            ~missing.astype(bool),
            f"column {column.name!r} must not have missing values, but row {{row}} "
            "has one.",
        )
    return pd.api.types.infer_dtype(column)


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
    """Builds the error for a column of the type `kind`."""
    return TypeError(
        f"column {column.name!r} must hold {expected}, but it is of type "
        f"{column.dtype} and holds values of the kind {kind!r}, "
        f"{_value(column, 0)!r} for example."
    )


def _value(column: pd.Series, row: int) -> Any:
    """Returns a value as Python has it: `1.5`, not `np.float64(1.5)`."""
    return column.iloc[[row]].tolist()[0]
