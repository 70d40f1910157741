"""Titles and histories from CSV files with the usual names of columns."""

from __future__ import annotations

import pathlib

import pandas as pd

_NAMES = {
    "user": {"user", "userid"},
    "item": {"item", "itemid", "movie", "movieid", "product", "productid"},
    "title": {"title", "name"},
    "time": {"time", "timestamp", "date"},
}
"""For each column its names, without case, `_`, `-` and blanks."""


def read_titles(path: pathlib.Path) -> dict[str, str]:
    """Returns the titles by item, from the columns item and title."""
    table = _read(path, "item", "title")
    return dict(zip(table["item"], table["title"], strict=True))


def read_histories(path: pathlib.Path) -> dict[str, list[str]]:
    """Returns the items by user, from the columns user and item.

    The oldest comes first if there is a column time, and the first row otherwise.
    """
    table = _read(path, "user", "item")
    if "time" in table:
        numbers = pd.to_numeric(table["time"], errors="coerce")
        table["time"] = table["time"] if numbers.isna().any() else numbers
        table = table.sort_values("time", kind="stable")
    return dict(table.groupby("user", sort=False)["item"].agg(list))


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
