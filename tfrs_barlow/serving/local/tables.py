"""Titles and histories from CSV files, in the columns that people have."""

from __future__ import annotations

import dataclasses
import pathlib

import pandas as pd

_NAMES = {
    "user": {"user", "userid"},
    "item": {"item", "itemid", "movie", "movieid", "product", "productid"},
    "title": {"title", "name"},
    "time": {"time", "timestamp", "date"},
}
"""By what is sought the names of its column, without case, `_`, `-` and blanks."""


@dataclasses.dataclass(frozen=True)
class Histories:
    """What users have met, oldest first.

    Attributes:
        users: Their names.
        items: For each of them the items, as they are written in the file.
    """

    users: list[str]
    items: list[list[str]]


def read_titles(path: pathlib.Path) -> dict[str, str]:
    """Returns the title of each item, from a file with the columns item and title.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is no CSV file, or lacks a column.
    """
    table = _read(path, "item", "title")
    return dict(zip(table["item"], table["title"], strict=True))


def read_histories(path: pathlib.Path) -> Histories:
    """Returns the users in a file with the columns user and item.

    The rows of a user are in the order of a column time, if there is one.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is no CSV file, or lacks a column.
    """
    table = _read(path, "user", "item")
    if "time" in table:
        numbers = pd.to_numeric(table["time"], errors="coerce")
        table["time"] = table["time"] if numbers.isna().any() else numbers
        table = table.sort_values("time", kind="stable")
    items = table.groupby("user", sort=False)["item"].agg(list)
    return Histories([*items.index], [*items])


def _read(path: pathlib.Path, *wanted: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} must be a CSV file: {error}") from error
    plain = {
        "".join(c for c in str(column).lower() if c.isalnum()): column
        for column in table.columns
    }
    found = {
        plain[name]: kind
        for kind, names in _NAMES.items()
        for name in sorted(names & plain.keys())
    }
    missing = [kind for kind in wanted if kind not in found.values()]
    if missing:
        raise ValueError(
            f"{path} must have a column {' and a column '.join(missing)}, but its "
            f"columns are {', '.join(map(str, table.columns))}."
        )
    return table[[*found]].rename(columns=found)
