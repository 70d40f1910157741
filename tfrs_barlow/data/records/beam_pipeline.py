"""Builds and writes user sequences in an Apache Beam pipeline."""

from __future__ import annotations

import bisect
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from tfrs_barlow._checksum import checksum
from tfrs_barlow.data.records.beam_preparation import checked_counts
from tfrs_barlow.data.records.beam_reading import FileSystems, InteractionBatch, beam
from tfrs_barlow.data.records.folder import (
    PARTIAL_SUFFIX,
    Shard,
    UserType,
    interrupted_files,
    shard_name,
)
from tfrs_barlow.data.records.writing import (
    last_files,
    partial_name,
    serialize_user,
    shard_bounds,
)
from tfrs_barlow.data.vocabulary import Vocabulary

# Users are sorted in this many ranges, each by one worker: of a billion users, a
# million each.
_RANGES = 1000

_IntArray = npt.NDArray[np.int64]


class WriteSequences(beam.PTransform):
    """Builds sequences from a log and writes them, as on one machine.

    The folder holds what `build_sequences`, `UserSequences.most_recent` and
    `write_sequences` make of the same rows, byte by byte.

    A worker holds 24 bytes for each event of a user, and no more than twice `length`
    events if it is given. Every worker holds the vocabulary. No worker holds more than
    a thousandth of the users, or more than a shard of the records.

    If a worker fails and its work is repeated, or is done twice, each attempt writes
    its own files, one of which is renamed. The manifest comes last. Only one pipeline
    at a time may write into a folder.

    It takes a `PCollection` of `InteractionBatch`es, from `ReadInteractions` or your
    own, and returns one of a single element when all is written: the number of users.

    The arguments are those of `write_sequences_with_beam`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        vocabulary: Vocabulary | None = None,
        min_length: int = 1,
        length: int | None = None,
        shards: int | None = None,
        hot_key_fanout: int | None = None,
    ) -> None:
        super().__init__()
        self._path = os.fspath(path)
        self._vocabulary = vocabulary
        self._counts = checked_counts(
            min_length=min_length,
            length=length,
            shards=shards,
            hot_key_fanout=hot_key_fanout,
        )

    def expand(self, batches: Any) -> Any:
        """Adds the grouping, sorting and writing to the pipeline."""
        _prepare_folder(self._path)
        kinds = (
            batches
            | "Kinds" >> beam.Map(_kinds)
            | "AllKinds" >> beam.CombineGlobally(_join_kinds)
        )
        kinds = beam.pvalue.AsSingleton(kinds)
        batches |= "SameKinds" >> beam.Map(_of_kinds, kinds)
        vocabulary = beam.pvalue.AsSingleton(self._vocabulary_of(batches))
        sequences = self._sequences(batches, vocabulary)
        bounds = beam.pvalue.AsSingleton(
            sequences
            | "Sizes" >> beam.MapTuple(lambda _, events: (1, len(events.item_ids)))
            | "Totals" >> beam.CombineGlobally(beam.combiners.TupleCombineFn(sum, sum))
            | "Bounds" >> beam.Map(_bounds, shards=self._counts["shards"])
        )
        shards = (
            {"row": _rows(sequences), "events": sequences}
            | "WithRows" >> beam.CoGroupByKey()
            | "Records" >> beam.FlatMap(_records, bounds)
            | "Shards" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write_shard, bounds, self._path)
            # After this step, an attempt is not repeated under another name.
            | "Written" >> beam.Reshuffle()
            | "Publish" >> beam.Map(_publish, self._path)
        )
        return (
            batches.pipeline
            | "Once" >> beam.Create([self._path])
            | "Finish"
            >> beam.Map(_finish, beam.pvalue.AsList(shards), vocabulary, kinds)
        )

    def _vocabulary_of(self, batches: Any) -> Any:
        """Returns a `PCollection` of one `Vocabulary`."""
        if self._vocabulary is not None:
            return batches.pipeline | "Vocabulary" >> beam.Create([self._vocabulary])
        return (
            batches
            | "Items" >> beam.FlatMap(lambda rows: pd.unique(rows.item_ids).tolist())
            | "DistinctItems" >> beam.Distinct()
            | "AllItems" >> beam.combiners.ToList()
            | "Vocabulary" >> beam.Map(_vocabulary)
        )

    def _sequences(self, batches: Any, vocabulary: Any) -> Any:
        """Returns a `PCollection` of users and their `_Events`, sorted."""
        combine = beam.CombinePerKey(_MostRecent(self._counts["length"]))
        if (fanout := self._counts["hot_key_fanout"]) is not None:
            combine = combine.with_hot_key_fanout(fanout)
        min_length = self._counts["min_length"]
        return (
            batches
            | "Parts" >> beam.FlatMap(_parts_of_users, vocabulary)
            | "Join" >> combine
            | "Long" >> beam.Filter(lambda user: user[1].total >= min_length)
        )


def _vocabulary(items: list[Any]) -> Vocabulary:
    if not items:
        raise ValueError("the log must hold at least one row, but it is empty.")
    return Vocabulary.from_values(items)


class _Kinds(NamedTuple):
    """The types of a batch or a log: ids are integers if all of the log are."""

    integer_users: bool
    integer_items: bool
    has_dates: bool


def _kinds(batch: InteractionBatch) -> _Kinds:
    return _Kinds(
        batch.user_ids.dtype != object, batch.item_ids.dtype != object, batch.has_dates
    )


def _join_kinds(kinds: Iterable[_Kinds]) -> _Kinds:
    kinds = list(kinds)
    return _Kinds(
        all(kind.integer_users for kind in kinds),
        all(kind.integer_items for kind in kinds),
        any(kind.has_dates for kind in kinds),
    )


def _of_kinds(batch: InteractionBatch, kinds: _Kinds) -> InteractionBatch:
    """Converts integers to strings if other batches hold strings."""
    if batch.has_dates != kinds.has_dates:
        raise ValueError(
            "times must be all integers or all dates, but those from "
            f"{batch.timestamps[0]} on are integers, and others are dates."
        )
    users, items = batch.user_ids, batch.item_ids
    return batch._replace(
        user_ids=users if kinds.integer_users else users.astype(str).astype(object),
        item_ids=items if kinds.integer_items else items.astype(str).astype(object),
    )


class _Events(NamedTuple):
    """The events of a user that are kept."""

    total: int  # Of all events, kept or not.
    item_ids: npt.NDArray[np.int32]
    timestamps: _IntArray


_Accumulator = tuple[int, list[_IntArray]]
"""The number of all events of a user, and arrays of those that are kept."""

# Rows of an array of events. `np.lexsort` sorts by the last two: the order of time.
_ITEM, _POSITION, _TIME = range(3)


def _parts_of_users(
    batch: InteractionBatch, vocabulary: Vocabulary
) -> Iterator[tuple[Any, _IntArray]]:
    """Yields each user of a batch with an array of their events, `[3, events]`."""
    users, user_ids = pd.factorize(batch.user_ids)
    items, names = pd.factorize(batch.item_ids)
    item_ids = vocabulary.encode(names)[items]
    events = np.stack([item_ids, batch.positions, batch.timestamps])
    events = events[:, np.argsort(users, kind="stable")]
    ends = np.cumsum(np.bincount(users)).tolist()
    for user, start, end in zip(user_ids.tolist(), [0, *ends], ends, strict=False):
        # A copy, since a view would keep the events of all users in memory.
        yield user, events[:, start:end].copy()


class _MostRecent(beam.CombineFn):
    """Joins the parts of a user's events, and keeps the most recent of them.

    Each array of an accumulator is more than twice as long as the next, so that they
    are few and seldom copied.
    """

    def __init__(self, length: int | None) -> None:
        super().__init__()
        self._length = length

    def create_accumulator(self) -> _Accumulator:
        return 0, []

    def add_input(self, accumulator: _Accumulator, part: _IntArray) -> _Accumulator:
        count, parts = accumulator
        self._add(parts, part)
        return count + part.shape[1], parts

    def merge_accumulators(self, accumulators: Iterable[_Accumulator]) -> _Accumulator:
        total, merged = self.create_accumulator()
        for count, parts in accumulators:
            total += count
            for part in parts:
                self._add(merged, part)
        return total, merged

    def compact(self, accumulator: _Accumulator) -> _Accumulator:
        count, parts = accumulator
        return count, [self._join(parts)] if parts else []

    def extract_output(self, accumulator: _Accumulator) -> _Events:
        count, parts = accumulator
        events = self._join(parts)
        events = events[:, np.lexsort(events)]
        return _Events(count, events[_ITEM].astype(np.int32), events[_TIME].copy())

    def _add(self, parts: list[_IntArray], part: _IntArray) -> None:
        while parts and parts[-1].shape[1] <= 2 * part.shape[1]:
            part = self._join([parts.pop(), part])
        parts.append(part)

    def _join(self, parts: list[_IntArray]) -> _IntArray:
        events = np.concatenate(parts, axis=1)
        if self._length is None or events.shape[1] <= self._length:
            return events
        order = np.lexsort(events)
        return events[:, order[-self._length :]]


def _bounds(totals: tuple[int, int], shards: int | None) -> _IntArray:
    """Returns the first row of each shard, and the number of rows."""
    users, events = totals
    if not users:
        raise ValueError(
            "the log must hold at least one user with min_length events, but it does "
            "not."
        )
    return shard_bounds(users, events, shards)


def _rows(sequences: Any) -> Any:
    """Returns a `PCollection` of all users with their rows in the order of users."""
    users = sequences | "Users" >> beam.Keys()
    splitters = users | "Splitters" >> beam.ApproximateQuantiles.Globally(_RANGES + 1)
    ranges = (
        users
        | "Range"
        >> beam.Map(
            lambda user, bounds: (bisect.bisect_right(bounds, user), user),
            beam.pvalue.AsSingleton(splitters),
        )
        | "Ranges" >> beam.GroupByKey()
    )
    sizes = ranges | "RangeSizes" >> beam.MapTuple(
        lambda number, users: (number, sum(1 for _ in users))
    )
    return ranges | "Sort" >> beam.FlatMap(_sort, beam.pvalue.AsDict(sizes))


def _sort(
    users_of_range: tuple[int, Iterable[Any]], sizes: dict[int, int]
) -> Iterator[tuple[Any, int]]:
    number, users = users_of_range
    first = sum(size for other, size in sizes.items() if other < number)
    for row, user in enumerate(sorted(users), first):
        yield user, row


class _Record(NamedTuple):
    """A user as a record of a shard: those with at least two events come first."""

    is_untrainable: bool
    row: int
    events: int
    content: bytes


def _records(
    joined: tuple[Any, dict[str, list[Any]]], bounds: _IntArray
) -> Iterator[tuple[int, _Record]]:
    user, found = joined
    (row,), (events,) = found["row"], found["events"]
    shard = int(np.searchsorted(bounds, row, side="right")) - 1
    length = len(events.item_ids)
    content = serialize_user(user, row, events.item_ids, events.timestamps)
    yield shard, _Record(length < 2, row, length, content)


def _write_shard(
    numbered: tuple[int, Iterable[_Record]], bounds: _IntArray, path: str
) -> tuple[str, Shard]:
    """Writes a shard under a unique name, and returns that name."""
    number, unsorted = numbered
    name = shard_name(number, len(bounds) - 1)
    temporary = partial_name(name)
    records = sorted(unsorted)
    with tempfile.TemporaryDirectory() as folder:
        local = pathlib.Path(folder, name)
        with tf.io.TFRecordWriter(str(local)) as writer:
            for record in records:
                writer.write(record.content)
        target = FileSystems.join(path, temporary)
        with local.open("rb") as source, FileSystems.create(target) as file:
            shutil.copyfileobj(source, file)
        shard = Shard(
            name=name,
            users=len(records),
            trainable_users=sum(not record.is_untrainable for record in records),
            events=sum(record.events for record in records),
            size=local.stat().st_size,
            sha256=checksum(local),
        )
    return temporary, shard


def _publish(written: tuple[str, Shard], path: str) -> Shard:
    """Gives a shard its name, unless an earlier attempt has done so."""
    temporary, shard = written
    source, target = (FileSystems.join(path, name) for name in (temporary, shard.name))
    if FileSystems.exists(source) or not FileSystems.exists(target):
        FileSystems.rename([source], [target])
    return shard


def _finish(
    path: str, shards: list[Shard], vocabulary: Vocabulary, kinds: _Kinds
) -> int:
    """Writes the vocabulary and the manifest, and deletes what failed attempts left."""
    shards = sorted(shards, key=lambda shard: shard.name)
    user_type: UserType = "int64" if kinds.integer_users else "string"
    for name, content in last_files(shards, vocabulary, user_type).items():
        partial = FileSystems.join(path, partial_name(name))
        with FileSystems.create(partial) as file:
            file.write(content)
        FileSystems.rename([partial], [FileSystems.join(path, name)])
    _delete(path, [name for name in _names(path) if name.endswith(PARTIAL_SUFFIX)])
    return sum(shard.users for shard in shards)


def _prepare_folder(path: str) -> None:
    """Makes the folder, and deletes what an interrupted write has left in it."""
    _delete(path, interrupted_files(path, _names(path)))
    if not FileSystems.exists(path):
        FileSystems.mkdirs(path)


def _names(path: str) -> list[str]:
    """Returns the names of all files in a folder."""
    found = FileSystems.match([FileSystems.join(path, "*")])[0].metadata_list
    return sorted(FileSystems.split(file.path)[1] for file in found)


def _delete(path: str, names: list[str]) -> None:
    if names:
        FileSystems.delete([FileSystems.join(path, name) for name in names])
