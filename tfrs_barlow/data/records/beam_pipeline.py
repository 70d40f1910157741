"""Makes and writes user sequences in an Apache Beam pipeline."""

from __future__ import annotations

import bisect
import os
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.data.records import folder as record_folder
from tfrs_barlow.data.records.beam_reading import FileSystems, InteractionBatch, beam
from tfrs_barlow.data.records.folder import Shard
from tfrs_barlow.data.records.writing import (
    last_files,
    require_room,
    serialize_user,
    shard_bounds,
)
from tfrs_barlow.data.vocabulary import Vocabulary

# Users are sorted in this many ranges, each by one worker: a thousand million users
# make a million for each.
_RANGES = 1000

_IntArray = npt.NDArray[np.int64]


class WriteSequences(beam.PTransform):
    """Makes sequences of a log and writes them, as on one machine.

    The folder holds what `build_sequences`, `UserSequences.most_recent` and
    `write_sequences` make of the same rows, byte by byte.

    Of a user's events a worker holds 24 bytes each, in arrays, and no more than twice
    `length` of them if it is given. Every worker holds the vocabulary. Of users no
    worker holds more than a thousandth, and of records no more than a shard.

    Where a worker fails and its work is repeated, or is done twice, each attempt writes
    files of its own, of which one is renamed. The manifest comes last. Only one
    pipeline at a time may write into a folder.

    It takes a `PCollection` of `InteractionBatch`es, from `ReadInteractions` or your
    own, and returns one of a single element when all is written: the number of users.
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
        """Initializes the transform.

        Args:
            path: A folder that all workers reach: a path, or a URL of any file system
                that Beam knows. It must be empty, or hold an interrupted write.
            vocabulary: The items to tell apart; all others become
                `OUT_OF_VOCABULARY_ID`. If None, every item of the log gets an id.
            min_length: Users with fewer events are left out.
            length: How many of the most recent events of each user to keep; None for
                all.
            shards: How many files to write, at most as many as users; by default one
                for each million events.
            hot_key_fanout: Into how many groups the parts of each user's events are
                put to be joined before the groups are. It helps where one user's
                events do not fit one worker's time, and costs a pass over all.

        Raises:
            ValueError: If `min_length`, `length`, `shards` or `hot_key_fanout` is less
                than 1.
        """
        super().__init__()
        for name, value in (
            ("min_length", min_length),
            ("length", length),
            ("shards", shards),
            ("hot_key_fanout", hot_key_fanout),
        ):
            if value is not None:
                _checks.integer(name, value, at_least=1)
        self._path = os.fspath(path)
        self._vocabulary = vocabulary
        self._min_length = min_length
        self._length = length
        self._shards = shards
        self._hot_key_fanout = hot_key_fanout

    def expand(self, batches: Any) -> Any:
        """Adds what groups, sorts and writes to the pipeline.

        Raises:
            FileExistsError: If the folder holds written sequences or other files.
        """
        _make_room(self._path)
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
            | "Totals" >> beam.CombineGlobally(_sums)
            | "Bounds" >> beam.Map(_bounds, shards=self._shards)
        )
        shards = (
            {"row": _rows(sequences), "events": sequences}
            | "WithRows" >> beam.CoGroupByKey()
            | "Records" >> beam.FlatMap(_records, bounds)
            | "Shards" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write_shard, bounds, self._path)
            # From here on an attempt's name is the one that counts.
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
        combine = beam.CombinePerKey(_MostRecent(self._length))
        if self._hot_key_fanout is not None:
            combine = combine.with_hot_key_fanout(self._hot_key_fanout)
        return (
            batches
            | "Parts" >> beam.FlatMap(_parts_of_users, vocabulary)
            | "Join" >> combine
            | "Long" >> beam.Filter(_is_long_enough, self._min_length)
        )


def _vocabulary(items: list[Any]) -> Vocabulary:
    if not items:
        raise ValueError("the log must hold at least one row, but it is empty.")
    return Vocabulary.from_values(items)


class _Kinds(NamedTuple):
    """What batches hold: of ids, integers if all of the log are, strings otherwise."""

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
    """Makes integers strings where others are no integers."""
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
    """The events of a user that are kept, and how many there were."""

    total: int
    item_ids: npt.NDArray[np.int32]
    timestamps: _IntArray


# Rows of an array of events. By the last two, events have the order of time.
_ITEM, _POSITION, _TIME = range(3)


def _parts_of_users(
    batch: InteractionBatch, vocabulary: Vocabulary
) -> Iterator[tuple[Any, _IntArray]]:
    """Yields each user of a batch and an array of their events, `[3, events]`."""
    users, user_ids = pd.factorize(batch.user_ids)
    items, names = pd.factorize(batch.item_ids)
    item_ids = vocabulary.encode(names)[items]
    events = np.stack([item_ids, batch.positions, batch.timestamps])
    events = events[:, np.argsort(users, kind="stable")]
    ends = np.cumsum(np.bincount(users)).tolist()
    for user, start, end in zip(user_ids.tolist(), [0, *ends], ends, strict=False):
        # A copy, since who holds a view holds all that it is a view of.
        yield user, events[:, start:end].copy()


class _MostRecent(beam.CombineFn):
    """Joins the parts of a user's events, and keeps the most recent of them.

    An accumulator holds how many events there were, and arrays of those that are kept,
    each more than twice as long as the next: few, and seldom copied.
    """

    def __init__(self, length: int | None) -> None:
        super().__init__()
        self._length = length

    def create_accumulator(self) -> tuple[int, list[_IntArray]]:
        return 0, []

    def add_input(
        self, accumulator: tuple[int, list[_IntArray]], part: _IntArray
    ) -> tuple[int, list[_IntArray]]:
        count, parts = accumulator
        self._add(parts, part)
        return count + part.shape[1], parts

    def merge_accumulators(
        self, accumulators: Iterable[tuple[int, list[_IntArray]]]
    ) -> tuple[int, list[_IntArray]]:
        total, merged = self.create_accumulator()
        for count, parts in accumulators:
            total += count
            for part in parts:
                self._add(merged, part)
        return total, merged

    def compact(
        self, accumulator: tuple[int, list[_IntArray]]
    ) -> tuple[int, list[_IntArray]]:
        count, parts = accumulator
        return count, [self._join(parts)] if parts else []

    def extract_output(self, accumulator: tuple[int, list[_IntArray]]) -> _Events:
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


def _is_long_enough(user: tuple[Any, _Events], min_length: int) -> bool:
    return user[1].total >= min_length


def _sums(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    pairs = list(pairs)
    return sum(first for first, _ in pairs), sum(second for _, second in pairs)


def _bounds(totals: tuple[int, int], shards: int | None) -> _IntArray:
    """Returns which row each shard begins with, and how many rows there are."""
    users, events = totals
    if not users:
        raise ValueError(
            "the log must hold at least one user with min_length events, but there is "
            "none."
        )
    return shard_bounds(users, events, shards)


def _rows(sequences: Any) -> Any:
    """Returns a `PCollection` of all users with their places in the order of users."""
    users = sequences | "Users" >> beam.Keys()
    splitters = users | "Splitters" >> beam.ApproximateQuantiles.Globally(_RANGES + 1)
    ranges = (
        users
        | "Range" >> beam.Map(_with_range, beam.pvalue.AsSingleton(splitters))
        | "Ranges" >> beam.GroupByKey()
    )
    sizes = ranges | "RangeSizes" >> beam.MapTuple(
        lambda number, users: (number, sum(1 for _ in users))
    )
    return ranges | "Sort" >> beam.FlatMap(_sort, beam.pvalue.AsDict(sizes))


def _with_range(user: Any, splitters: list[Any]) -> tuple[int, Any]:
    return bisect.bisect_right(splitters, user), user


def _sort(
    users_of_range: tuple[int, Iterable[Any]], sizes: dict[int, int]
) -> Iterator[tuple[Any, int]]:
    number, users = users_of_range
    first = sum(size for other, size in sizes.items() if other < number)
    for row, user in enumerate(sorted(users), first):
        yield user, row


class _Record(NamedTuple):
    """A user as a record of a shard: those with two events or more come first."""

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
    """Writes a shard under a name of its own, and returns that."""
    number, unsorted = numbered
    name = record_folder.shard_name(number, len(bounds) - 1)
    temporary = f"{name}.{uuid.uuid4().hex}{record_folder.PARTIAL_SUFFIX}"
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
            sha256=record_folder.checksum(local),
        )
    return temporary, shard


def _publish(written: tuple[str, Shard], path: str) -> Shard:
    """Gives a shard its name, unless an attempt before this one has."""
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
    user_type: record_folder.UserType = "int64" if kinds.integer_users else "string"
    for name, content in last_files(shards, vocabulary, user_type).items():
        partial = FileSystems.join(path, name + record_folder.PARTIAL_SUFFIX)
        with FileSystems.create(partial) as file:
            file.write(content)
        FileSystems.rename([partial], [FileSystems.join(path, name)])
    left = [
        name for name in _names(path) if name.endswith(record_folder.PARTIAL_SUFFIX)
    ]
    FileSystems.delete([FileSystems.join(path, name) for name in left])
    return sum(shard.users for shard in shards)


def _make_room(path: str) -> None:
    """Makes the folder, and deletes what an interrupted write has left in it."""
    names = _names(path)
    require_room(path, names)
    if names:
        FileSystems.delete([FileSystems.join(path, name) for name in names])
    elif not FileSystems.exists(path):
        FileSystems.mkdirs(path)


def _names(path: str) -> list[str]:
    """Returns the names of all files in a folder."""
    pattern = FileSystems.join(path, "*")
    found = FileSystems.match([pattern])[0].metadata_list
    return sorted(FileSystems.split(file.path)[1] for file in found)
