"""User sequences straight from a large file, within a bound of memory."""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tfrs_barlow import _checks
from tfrs_barlow.data.readers.files import staged
from tfrs_barlow.data.readers.malformed import MalformedLines, OnMalformed
from tfrs_barlow.data.readers.tables import (
    check_columns,
    is_read_by_database,
    read_log,
)
from tfrs_barlow.data.sequences import UserSequences, build_sequences
from tfrs_barlow.data.vocabulary import Vocabulary

_UNITS = {
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}
# What DuckDB holds while it sorts is about so many times what it counts.
_OVERHEAD = 1.6
_LEAST_MEMORY = 200 * 10**6
_VECTORS = 256


def scan_sequences(
    path: str | os.PathLike[str],
    *,
    user_column: str,
    item_column: str,
    time_column: str,
    vocabulary: Vocabulary | None = None,
    min_length: int = 1,
    memory_limit: int | str | None = None,
    on_malformed: OnMalformed = "raise",
) -> tuple[UserSequences, Vocabulary]:
    r"""Turns a file with one row per interaction into one sequence per user.

    The result is that of `build_sequences(read_interactions(path, ...))`, without the
    table between: for logs of many millions of rows. DuckDB reads and sorts them.

    Args:
        path: A file that `read_interactions` reads.
        user_column: The users: integers or strings.
        item_column: The items: integers or strings.
        time_column: When it happened: see `read_interactions`.
        vocabulary: The items with an id; all others become `OUT_OF_VOCABULARY_ID`. If
            None, every item of the file gets an id.
        min_length: Users with fewer interactions are left out.
        memory_limit: How much memory reading and sorting may take, in bytes or as
            `"500MB"` or `"4GiB"`, at least 200 MB; what does not fit goes to temporary
            files. The sequences, 12 bytes an event, and the vocabulary come on top. A
            file of JSON lines is held in memory whatever the limit is. None for no
            limit but that of DuckDB, 80 % of the memory of the machine.
        on_malformed: See `read_interactions`.

    Returns:
        The sequences, with the users sorted, and the vocabulary of their ids. Events of
        one user at one time keep the order of their rows.

    Raises:
        FileNotFoundError, MalformedFileError, ValueError, TypeError: As
            `read_interactions` raises them, and if an argument is wrong.
        MemoryError: If the log cannot be read within `memory_limit`.

    Examples:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> rows = ["who,song,when", "ann,7,30", "bob,9,10", "ann,8,20"]
        >>> _ = file.write_text("\n".join(rows))
        >>> sequences, vocabulary = tfrsb.data.scan_sequences(
        ...     file, user_column="who", item_column="song", time_column="when"
        ... )
        >>> sequences.user_ids, vocabulary.decode(sequences.item_ids)
        (array(['ann', 'bob'], dtype=object), array([8, 7, 9], dtype=object))
    """
    _checks.integer("min_length", min_length, at_least=1)
    limit = None if memory_limit is None else _to_bytes(memory_limit)
    malformed = MalformedLines(on_malformed)
    columns = check_columns(
        user_column=user_column, item_column=item_column, time_column=time_column
    )
    path = pathlib.Path(path)
    if not is_read_by_database(path):
        log = read_log(path, columns, None, malformed)
        malformed.warn()
        return build_sequences(log, vocabulary, min_length=min_length)
    with staged(path, columns, malformed, limit) as database:
        malformed.warn()
        return _build(database, vocabulary, min_length)


def _to_bytes(limit: Any) -> int:
    """Returns what DuckDB may count for a limit such as `"500MB"`."""
    if isinstance(limit, str):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMG]I?B)", limit.upper())
        if match is None:
            raise ValueError(
                "memory_limit must be bytes or a string such as '500MB' or '4GiB', but "
                f"it is {limit!r}."
            )
        limit = int(float(match[1]) * _UNITS[match[2]])
    _checks.integer("memory_limit", limit, at_least=_LEAST_MEMORY)
    return int(limit / _OVERHEAD)


def _build(
    database: Any, vocabulary: Vocabulary | None, min_length: int
) -> tuple[UserSequences, Vocabulary]:
    """Does what `build_sequences` does with the view `log`."""
    users, counts = _distinct(database, "user_id")
    items, _ = _distinct(database, "item_id")
    if vocabulary is None:
        vocabulary = Vocabulary.from_values(pd.Index(items))
    ids = vocabulary.encode(pd.Index(items))
    splits = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    # Where integers are dense, a table in memory is faster than a join.
    first = None
    if items.dtype != object and items[-1] - items[0] <= 2 * splits[-1]:
        first = items[0]
        table = np.zeros(items[-1] - first + 1, np.int32)
        table[items - first] = ids
        ids = table
    source, user, item = "log", "user_id", "item_id"
    if users.dtype == object:
        source += " join user_id_places using (user_id)"
        user = "user_id_places.place"
    if first is None:
        source += " join item_id_places using (item_id)"
        item = "item_id_places.place"
    for name in ("user_id", "item_id"):
        if f"{name}_places" in source:
            database.execute(
                f"create table {name}_places as select {name}, "
                f"row_number() over (order by {name}) - 1 as place "
                f"from (select distinct {name} from log)"
            )
    events = database.execute(
        f"select {item} as item, timestamp from {source} "
        f"order by {user}, timestamp, row"
    )
    item_ids = np.empty(splits[-1], np.int32)
    timestamps = np.empty(splits[-1], np.int64)
    start = 0
    while len(batch := events.fetch_df_chunk(_VECTORS)):
        part = slice(start, start + len(batch))
        item_ids[part] = ids[batch["item"].to_numpy() - (first or 0)]
        timestamps[part] = batch["timestamp"].to_numpy()
        start += len(batch)
    sequences = UserSequences(users, item_ids, timestamps, splits)
    if counts.min() < min_length:
        sequences = sequences.select(counts >= min_length)
    return sequences, vocabulary


def _distinct(
    database: Any, column: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Returns the values of a column, sorted, and how many rows have each."""
    rows = database.execute(
        f"select {column}, count(*) from log group by {column} order by {column}"
    ).fetchall()
    values, counts = zip(*rows, strict=True)
    kind = object if isinstance(values[0], str) else np.int64
    return np.array(values, kind), np.array(counts, np.int64)
