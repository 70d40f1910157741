"""From a log to written sequences on many machines, by Apache Beam."""

from __future__ import annotations

import os
from typing import Any

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

    It writes the files that `read_interactions` (or `scan_sequences`),
    `build_sequences` and `write_sequences` would, byte by byte, wherever it runs: on
    Dataflow, Flink or Spark for logs that one machine cannot hold. On one machine it
    is by far the slower way. It needs the extra `beam`.

    For pipelines of your own there are two `PTransform`s:
    `tfrs_barlow.data.records.beam_pipeline.WriteSequences` and
    `tfrs_barlow.data.records.beam_reading.ReadInteractions`.

    Example:
        >>> tfrsb.data.write_sequences_with_beam(  # doctest: +SKIP
        ...     "gs://mine/log/2026-*.csv",
        ...     "gs://mine/sequences",
        ...     user_column="who",
        ...     item_column="song",
        ...     time_column="when",
        ...     length=200,
        ...     options=PipelineOptions(["--runner=DataflowRunner", ...]),
        ... )

    Args:
        file_pattern: The files, with `*` and `?` for what differs: paths, or URLs of
            any file system that Beam knows. They end as those that `read_interactions`
            reads, and count in the order of their paths, as if they were one.
        path: The folder to write, a path or a URL: empty, or with what an interrupted
            call left. To read it again, it must be a local one, or a copy.
        user_column: The users: integers or strings.
        item_column: The items: integers or strings.
        time_column: When it happened: see `read_interactions`. Of a user's events at
            one time, the one in an earlier row comes first.
        vocabulary: The items to tell apart; all others become `OUT_OF_VOCABULARY_ID`.
            If None, every item of the log gets an id.
        min_length: Users with fewer events are left out.
        length: How many of the most recent events of each user to keep; None for all.
        shards: How many files to write, at most as many as users; by default one for
            each million events.
        hot_key_fanout: Into how many groups the events of each user are put to be
            joined before the groups are: worth its price where one user has very many.
        options: The `PipelineOptions`, which say where it runs. Default: here.

    Raises:
        ImportError: If Apache Beam is not installed.
        ValueError: If a number is less than 1; while it runs, if no user is left or
            there are fewer than `shards`.
        FileExistsError: If the folder holds written sequences or other files.
        FileNotFoundError, MalformedFileError, ValueError, TypeError: While it runs, as
            `read_interactions` raises them. Some runners raise a `RuntimeError` that
            holds the message instead.
    """
    # Beam is an extra, and what is made of it cannot be imported without.
    from tfrs_barlow.data.records.beam_pipeline import WriteSequences
    from tfrs_barlow.data.records.beam_reading import ReadInteractions, beam

    write = WriteSequences(
        path,
        vocabulary=vocabulary,
        min_length=min_length,
        length=length,
        shards=shards,
        hot_key_fanout=hot_key_fanout,
    )
    read = ReadInteractions(
        file_pattern,
        user_column=user_column,
        item_column=item_column,
        time_column=time_column,
    )
    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | read | write
