"""From a log to written sequences on many machines, by Apache Beam."""

from __future__ import annotations

import os
from typing import Any

from tfrs_barlow import _checks
from tfrs_barlow.data.vocabulary import Vocabulary


def write_sequences_with_beam(
    file_pattern: str,
    path: str | os.PathLike[str],
    *,
    user_column: str,
    item_column: str,
    time_column: str,
    vocabulary: Vocabulary | None = None,
    min_length: int = 1,
    length: int | None = None,
    shards: int | None = None,
    hot_key_fanout: int | None = None,
    options: Any = None,
) -> None:
    """Reads a log and writes its sequences in an Apache Beam pipeline, and waits.

    It writes the files that `read_interactions`, `build_sequences` and
    `write_sequences` would, byte by byte, wherever it runs: on Dataflow, Flink or Spark
    for logs that are too large for one machine. On one machine it is by far the slower
    way. It needs the extra `beam`.

    Args:
        file_pattern: The files, with `*` and `?` for what differs: paths, or URLs of
            any file system that Beam knows. They have the endings that
            `read_interactions` reads, and count as one file, in the order of their
            paths.
        path: The folder to write, a path or a URL: empty, or with what an interrupted
            call left. To read it, it must be a local folder, or be copied to one.
        user_column: The users: integers or strings.
        item_column: The items: integers or strings.
        time_column: The times: see `read_interactions`. Of a user's events at one time,
            the one in an earlier row comes first.
        vocabulary: The items to distinguish; all others become `OUT_OF_VOCABULARY_ID`.
            If None, every item of the log gets an id.
        min_length: Users with fewer events are left out.
        length: How many of the most recent events of each user to keep; None for all.
        shards: How many files to write, at most as many as users; by default one for
            each million events.
        hot_key_fanout: The number of groups in which each user's events are joined
            before the groups are joined. It costs a pass over all events, and pays if
            one user has very many.
        options: The `PipelineOptions`, which say where it runs. If None, it runs here.

    Raises:
        ImportError: If Apache Beam is not installed.
        TypeError: If an argument has the wrong type.
        ValueError: If a number is less than 1; while it runs, if no user is left or
            there are fewer than `shards`.
        FileExistsError: If the folder holds written sequences or other files.
        FileNotFoundError, MalformedFileError, ValueError, TypeError: While it runs, as
            `read_interactions` raises them. Some runners raise a `RuntimeError` that
            holds the message instead.

    Examples:
        >>> tfrsb.data.write_sequences_with_beam(  # doctest: +SKIP
        ...     "gs://mine/log/2026-*.csv",
        ...     "gs://mine/sequences",
        ...     user_column="who",
        ...     item_column="song",
        ...     time_column="when",
        ...     length=200,
        ...     options=PipelineOptions(["--runner=DataflowRunner", ...]),
        ... )
    """
    _checks.text("file_pattern", file_pattern)
    columns = {
        "user_column": _checks.text("user_column", user_column),
        "item_column": _checks.text("item_column", item_column),
        "time_column": _checks.text("time_column", time_column),
    }
    counts = checked_counts(
        min_length=min_length,
        length=length,
        shards=shards,
        hot_key_fanout=hot_key_fanout,
    )
    # Beam is an extra, and these modules cannot be imported without it.
    from tfrs_barlow.data.records.beam_pipeline import WriteSequences
    from tfrs_barlow.data.records.beam_reading import ReadInteractions, beam

    write = WriteSequences(path, vocabulary=vocabulary, **counts)
    read = ReadInteractions(file_pattern, **columns)
    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | read | write


def checked_counts(*, min_length: int, **counts: int | None) -> dict[str, Any]:
    """Returns the numbers that say what is written; all but the first may be None."""
    given = {name: value for name, value in counts.items() if value is not None}
    for name, value in ({"min_length": min_length} | given).items():
        _checks.integer(name, value, at_least=1)
    return {"min_length": min_length} | counts
