"""User sequences straight from a large file, by polars where it is installed."""

from __future__ import annotations

import importlib
import mmap
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tfrs_barlow import _checks
from tfrs_barlow.data.ordering import factorize, keys_to_sort_by
from tfrs_barlow.data.readers.delimited import SEPARATORS, header
from tfrs_barlow.data.readers.malformed import MalformedLines, OnMalformed
from tfrs_barlow.data.readers.tables import read_log
from tfrs_barlow.data.sequences import (
    UserSequences,
    build_sequences,
    sequences_of_sorted,
)
from tfrs_barlow.data.vocabulary import Vocabulary

# As many digits as `read_interactions` takes for an integer, and one more.
_FIRST_TOO_LONG = 10**18


def scan_sequences(
    path: str | os.PathLike[str],
    *,
    user_column: str,
    item_column: str,
    time_column: str,
    vocabulary: Vocabulary | None = None,
    min_length: int = 1,
    on_malformed: OnMalformed = "raise",
) -> tuple[UserSequences, Vocabulary]:
    r"""Turns a file with one row per interaction into one sequence per user.

    The result is that of `build_sequences(read_interactions(path, ...))`, without the
    table between: for logs of many millions of rows. With polars (extra `polars`) it
    takes a fraction of the time and of the memory. What polars does not read as pandas
    does (times that are no integers, compressed files, blank lines, any malformed line)
    is left to pandas, as is all without polars.

    Memory grows with the file, by some 70 bytes an event at the peak: the sequences
    themselves are in memory. `write_sequences_with_beam` is for what does not fit.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> rows = ["who,song,when", "ann,7,30", "bob,9,10", "ann,8,20"]
        >>> _ = file.write_text("\n".join(rows))
        >>> sequences, vocabulary = tfrsb.data.scan_sequences(
        ...     file, user_column="who", item_column="song", time_column="when"
        ... )
        >>> sequences.user_ids, vocabulary.decode(sequences.item_ids)
        (array(['ann', 'bob'], dtype=object), array([8, 7, 9], dtype=object))

    Args:
        path: A file that `read_interactions` reads.
        user_column: The users: integers or strings.
        item_column: The items: integers or strings.
        time_column: When it happened: see `read_interactions`.
        vocabulary: The items to tell apart; all others become `OUT_OF_VOCABULARY_ID`.
            If None, every item of the file gets an id.
        min_length: Users with fewer interactions are left out.
        on_malformed: See `read_interactions`.

    Returns:
        The sequences, with the users sorted, and the vocabulary of their ids. Events of
        one user at one time keep the order of their rows.

    Raises:
        ValueError: If `min_length` is not positive, or `on_malformed` is unknown.
        FileNotFoundError, ImportError, MalformedFileError, ValueError, TypeError: As
            `read_interactions` raises them.
    """
    _checks.integer("min_length", min_length, at_least=1)
    malformed = MalformedLines(on_malformed)
    names = {
        "user_column": user_column,
        "item_column": item_column,
        "time_column": time_column,
    }
    columns = _read_by_polars(pathlib.Path(path), *names.values())
    if columns is not None:
        return _build(columns, vocabulary, min_length)
    log = read_log(path, names, None, malformed)
    malformed.warn()
    return build_sequences(log, vocabulary, min_length=min_length)


class _Columns(NamedTuple):
    """A log, column by column.

    Attributes:
        users: `[events]`, the place of each event's user in `user_ids`.
        user_ids: The users, sorted.
        items: `[events]`, the place of each event's item in `item_names`.
        item_names: The items, sorted.
        timestamps: `[events]`
    """

    users: npt.NDArray
    user_ids: pd.Index
    items: npt.NDArray
    item_names: pd.Index
    timestamps: npt.NDArray[np.int64]


def _read_by_polars(
    path: pathlib.Path, user: str, item: str, time: str
) -> _Columns | None:
    """Reads a file, if polars is installed and reads it as `read_interactions` would.

    Where in doubt it does not.
    """
    try:
        polars = importlib.import_module("polars")
    except ImportError:
        return None
    try:
        if path.suffix == ".parquet":
            return _read_parquet(polars, path, user, item, time)
        if path.suffix in SEPARATORS:
            return _read_delimited(polars, path, user, item, time)
    except (polars.exceptions.PolarsError, pd.errors.ParserError, OSError, ValueError):
        pass
    return None


def _read_parquet(
    polars: Any, path: pathlib.Path, user: str, item: str, time: str
) -> _Columns | None:
    columns = {"user": user, "item": item, "time": time}
    lazy = polars.scan_parquet(path, glob=False)
    lazy = lazy.select(polars.col(name).alias(role) for role, name in columns.items())
    for role, dtype in lazy.collect_schema().items():
        if dtype.is_integer():
            lazy = lazy.with_columns(polars.col(role).cast(polars.Int64))
        elif role == "time" or dtype != polars.String:
            return None
    table = lazy.collect(engine="streaming")
    if table.is_empty() or table["time"].null_count():
        return None
    users, items = _factorize(polars, table["user"]), _factorize(polars, table["item"])
    if users is None or items is None:
        return None
    return _Columns(*users, *items, table["time"].to_numpy())


def _read_delimited(
    polars: Any, path: pathlib.Path, user: str, item: str, time: str
) -> _Columns | None:
    separator = SEPARATORS[path.suffix]
    names = list(pd.read_csv(path, sep=separator, nrows=0, index_col=False))
    written = header(path, separator)
    if max(map(written.count, (user, item, time))) > 1 or _has_lone_return(path):
        return None
    schema = dict.fromkeys(names, polars.String) | {time: polars.Int64}
    lazy = polars.scan_csv(path, separator=separator, schema=schema, glob=False)
    # polars looks at all columns that are asked for, and only then sees a row that has
    # a field too many, which would put its values under the wrong names.
    others = [name for name in names if name not in (user, item, time)]
    looked_at = [polars.all_horizontal(polars.col(others).is_null()).alias("others")]
    ids = {"user": polars.col(user), "item": polars.col(item)}
    table = lazy.select(
        *(text.cast(polars.Int64, strict=False).alias(r) for r, text in ids.items()),
        *(
            text.str.len_bytes().cast(polars.UInt16).alias(f"{role} length")
            for role, text in ids.items()
        ),
        polars.col(time).alias("time"),
        *(looked_at if others else []),
    ).collect(engine="streaming")
    if table.is_empty() or table["time"].null_count():
        return None
    factorized: list[Any] = []
    for role, text in ids.items():
        values = _factorize_integers(table[role], table[f"{role} length"])
        if values is None:
            strings = lazy.select(text.alias(role)).collect(engine="streaming")
            values = _factorize(polars, strings[role])
        if values is None:
            return None
        factorized += values
    users, user_ids, items, item_names = factorized
    timestamps = table["time"].to_numpy()
    return _Columns(users, user_ids, items, item_names, timestamps)


def _has_lone_return(path: pathlib.Path) -> bool:
    """Returns whether a line may end in what polars takes for text."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        first = content.find(b"\r")
        return first >= 0 and re.search(rb"\r(?!\n)", content) is not None


def _factorize_integers(
    numbers: Any, lengths: Any
) -> tuple[npt.NDArray, pd.Index] | None:
    """Factorizes texts that are integers as `read_interactions` understands them.

    Args:
        numbers: What polars takes the texts for, null where it is no integer.
        lengths: The lengths of the texts.

    Returns:
        As `factorize`. None if `read_interactions` takes any text for a string: `01` or
        `+1`, which is longer than the number has to be, or one of too many digits.
    """
    if numbers.null_count():
        return None
    codes, values = factorize(numbers.to_numpy())
    if values[0] <= -_FIRST_TOO_LONG or values[-1] >= _FIRST_TOO_LONG:
        return None
    least = np.array([len(str(value)) for value in values])
    if (np.bincount(codes) * least).sum() != lengths.sum():
        return None
    return codes, values


def _factorize(polars: Any, column: Any) -> tuple[npt.NDArray, pd.Index] | None:
    """Does what `factorize` does, or returns None if a value is missing."""
    if column.null_count():
        return None
    if column.dtype != polars.String:
        return factorize(column.to_numpy())
    values = column.unique().sort()
    if values[0] == "":
        return None
    codes = column.cast(polars.Enum(values)).to_physical()
    return codes.to_numpy(), pd.Index(np.array(values.to_list(), object))


def _build(
    columns: _Columns, vocabulary: Vocabulary | None, min_length: int
) -> tuple[UserSequences, Vocabulary]:
    """Does what `build_sequences` does."""
    if vocabulary is None:
        vocabulary = Vocabulary.from_values(columns.item_names)
    item_ids = vocabulary.encode(columns.item_names)[columns.items]
    item_ids, timestamps = _sort(columns.users, item_ids, columns.timestamps)
    sequences = sequences_of_sorted(
        columns.users, columns.user_ids, item_ids, timestamps, min_length
    )
    return sequences, vocabulary


def _sort(
    users: npt.NDArray,
    item_ids: npt.NDArray[np.int32],
    timestamps: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Sorts items and times by user and time; equal events keep their order."""
    polars = importlib.import_module("polars")
    packed = keys_to_sort_by(users, timestamps)
    if packed is None:
        table = polars.LazyFrame({"user": users, "time": timestamps, "item": item_ids})
        table = table.sort("user", "time", maintain_order=True)
    else:
        keys, time_bits, first = packed
        table = polars.LazyFrame({"key": keys, "item": item_ids})
        time = (polars.col("key") & ((1 << time_bits) - 1)) + first
        table = table.sort("key", maintain_order=True).with_columns(time=time)
    # The streaming engine sorts in half the time.
    table = table.select("item", "time").collect(engine="streaming")
    return table["item"].to_numpy(), table["time"].to_numpy()
