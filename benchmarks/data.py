"""From a log of MovieLens-20M's size to sequences, and from files to training batches.

    python -m benchmarks.data
    python -m benchmarks.data --ratings=2000000 --rounds=1
    python -m benchmarks.data --ratings=2000000 --ways write_sequences_with_beam

Generates a shuffled CSV file of 20,000,263 ratings by 138,493 users of 26,744 movies
with a long tail, and makes user sequences of it: with `tfrsb.data.scan_sequences`, as a
pandas `groupby(...).apply(list)`, with polars and with duckdb; and, if asked, through
Apache Beam on this machine, into files and back (extra `beam`). Each runs in a separate
process, in turns, and all must find the same users, items, times and vocabulary.

Then it writes the sequences as TFRecord files, reads them as training batches with two
augmented views, and compares that with the time of a training step.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd

RATINGS, USERS, MOVIES = 20_000_263, 138_493, 26_744
COLUMNS = ["userId", "movieId", "timestamp"]
BATCH_SIZE, LENGTH = 256, 100
BEAM = "write_sequences_with_beam"
MIB = 2**20
LIMIT = "500MB"


class Sequences(NamedTuple):
    """What every way must find: equal arrays."""

    user_ids: Any
    item_ids: Any
    timestamps: Any
    row_splits: Any
    tokens: Any


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ratings", type=int, default=RATINGS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=DEFAULT_WAYS)
    parser.add_argument("--only", choices=[*WAYS, "feed"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.only == "feed":
        feed(flags.folder)
    elif flags.only:
        print(json.dumps(build(WAYS[flags.only], flags.folder / "log.csv")))
    else:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            size = generate(folder / "log.csv", flags.ratings)
            print(f"{flags.ratings:,} ratings, {size / MIB:.0f} MiB, shuffled\n")
            compare(folder, flags.ways, flags.rounds)
            in_process("feed", folder)


def generate(path: pathlib.Path, ratings: int) -> int:
    """Writes the log, and returns its length in bytes."""
    import pyarrow
    from pyarrow import csv

    rng = np.random.default_rng(0)
    users = max(USERS * ratings // RATINGS, 1)
    activity = rng.lognormal(0, 1.15, users)
    least = min(20, ratings // users)
    share = activity / activity.sum() * (ratings - least * users)
    lengths = least + np.floor(share).astype(np.int64)
    lengths[: ratings - lengths.sum()] += 1
    popularity = np.cumsum(1 / np.arange(1, MOVIES + 1) ** 0.9)
    ranks = np.searchsorted(popularity, rng.random(ratings) * popularity[-1])
    movies = np.sort(rng.permutation(131_262)[:MOVIES] + 1)
    order = rng.permutation(ratings)
    table = {
        "userId": np.repeat(np.arange(1, users + 1), lengths)[order],
        "movieId": rng.permutation(movies)[ranks],
        "rating": rng.integers(1, 11, ratings) / 2,
        "timestamp": rng.integers(789_652_009, 1_427_784_002, ratings),
    }
    options = csv.WriteOptions(quoting_style="none")
    csv.write_csv(pyarrow.table(table), path, options)
    return path.stat().st_size


def compare(folder: pathlib.Path, ways: Iterable[str], rounds: int) -> None:
    """Builds the sequences in several ways, and prints the least that each takes."""
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in results:
            results[way].append(json.loads(in_process(way, folder, capture=True)))
    digests = {result["digest"] for found in results.values() for result in found}
    if len(digests) > 1:
        raise ValueError(f"The ways found different sequences: {results}.")
    print("sequences from CSV                   seconds   CPU seconds   peak, MiB")
    for way, found in results.items():
        seconds, cpu, peak = (
            min(result[name] for result in found) for name in ("wall", "cpu", "peak")
        )
        print(f"{way:34} {seconds:9.1f} {cpu:13.1f} {peak:11.0f}")
    print()


def in_process(only: str, folder: pathlib.Path, *, capture: bool = False) -> str:
    """Runs a part in a separate process, and returns the last line it printed."""
    command = [sys.executable, "-m", "benchmarks.data", "--only", only]
    process = subprocess.run(
        [*command, "--folder", str(folder)],
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=True,
    )
    return process.stdout.splitlines()[-1] if capture else ""


def build(way: Callable[[pathlib.Path], Sequences], log: pathlib.Path) -> Any:
    """Measures one way in this process, its imports apart."""
    way(_tiny(log))
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    found = way(log)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = (resident("VmHWM") - before) / MIB
    sha256 = hashlib.sha256()
    for column in found:
        sha256.update(np.ascontiguousarray(column, np.int64).tobytes())
    return {"wall": wall, "cpu": cpu, "peak": peak, "digest": sha256.hexdigest()}


def _tiny(log: pathlib.Path) -> pathlib.Path:
    """Writes a log of a few rows, which brings a way to import what it needs."""
    path = log.with_name("tiny.csv")
    path.write_text(
        "userId,movieId,rating,timestamp\n1,2,3.0,4\n1,3,3.0,4\n2,2,1.0,1\n"
    )
    return path


def by_scan_sequences(log: pathlib.Path, memory_limit: str | None = None) -> Sequences:
    """Calls `scan_sequences`, by which DuckDB reads and sorts."""
    import tfrs_barlow as tfrsb

    user, item, when = COLUMNS
    sequences, vocabulary = tfrsb.data.scan_sequences(
        log,
        user_column=user,
        item_column=item,
        time_column=when,
        memory_limit=memory_limit,
    )
    return Sequences(
        sequences.user_ids,
        sequences.item_ids,
        sequences.timestamps,
        sequences.row_splits,
        vocabulary.tokens,
    )


def by_scan_sequences_in_little_memory(log: pathlib.Path) -> Sequences:
    """The same with a limit, beyond which events go to disk."""
    return by_scan_sequences(log, LIMIT)


def by_build_sequences(log: pathlib.Path) -> Sequences:
    """Reads integers with pandas, as if the file were known to hold them."""
    import tfrs_barlow as tfrsb

    table = pd.read_csv(log, usecols=COLUMNS)
    table.columns = pd.Index(["user_id", "item_id", "timestamp"])
    items = pd.DataFrame(columns=["item_id", "title", "categories"])
    sequences, vocabulary = tfrsb.data.build_sequences(
        tfrsb.data.InteractionLog(table, items)
    )
    return Sequences(
        sequences.user_ids,
        sequences.item_ids,
        sequences.timestamps,
        sequences.row_splits,
        vocabulary.tokens,
    )


def by_groupby(log: pathlib.Path) -> Sequences:
    """The pandas that comes to mind first."""
    table = pd.read_csv(log, usecols=COLUMNS)
    table["movieId"], tokens = pd.factorize(table["movieId"], sort=True)
    table = table.sort_values(["userId", "timestamp"], kind="stable")
    groups = table.groupby("userId")
    items = groups["movieId"].apply(list)
    times = groups["timestamp"].apply(list)
    return Sequences(
        items.index,
        np.concatenate(items.to_list()) + 3,
        np.concatenate(times.to_list()),
        np.concatenate([[0], np.cumsum(items.str.len())]),
        tokens,
    )


def by_polars(log: pathlib.Path) -> Sequences:
    """Of four queries that were tried the fastest that keeps ties in order."""
    import polars as pl

    table = (
        pl.scan_csv(log)
        .select(COLUMNS)
        .with_row_index("row")
        .group_by("userId")
        .agg(pl.struct("timestamp", "row", "movieId").sort().alias("events"))
        .sort("userId")
        .collect(engine="streaming")
    )
    lengths = table["events"].list.len().to_numpy()
    events = table["events"].explode().struct.unnest()
    tokens = events["movieId"].unique().sort()
    ids = pl.Series(np.arange(len(tokens)) + 3)
    return Sequences(
        table["userId"],
        events["movieId"].replace_strict(tokens, ids),
        events["timestamp"],
        np.concatenate([[0], np.cumsum(lengths)]),
        tokens,
    )


def by_duckdb(log: pathlib.Path) -> Sequences:
    """A sort, since its lists take longer."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("set memory_limit = '4GB'")
    table = connection.execute(
        "select userId, movieId, timestamp from "
        "(select *, row_number() over () as row from read_csv(?)) "
        "order by userId, timestamp, row",
        [str(log)],
    ).fetchnumpy()
    users, starts = np.unique(table["userId"], return_index=True)
    tokens = np.unique(table["movieId"])
    return Sequences(
        users,
        np.searchsorted(tokens, table["movieId"]) + 3,
        table["timestamp"],
        np.append(starts, len(table["userId"])),
        tokens,
    )


def by_beam(log: pathlib.Path) -> Sequences:
    """Writes records in a pipeline on this machine, and loads them."""
    import tfrs_barlow as tfrsb

    user, item, when = COLUMNS
    with tempfile.TemporaryDirectory() as name:
        tfrsb.data.write_sequences_with_beam(
            str(log), name, user_column=user, item_column=item, time_column=when
        )
        sequences, vocabulary = tfrsb.data.load_sequences(name)
    return Sequences(
        sequences.user_ids,
        sequences.item_ids,
        sequences.timestamps,
        sequences.row_splits,
        vocabulary.tokens,
    )


WAYS: dict[str, Callable[[pathlib.Path], Sequences]] = {
    "scan_sequences": by_scan_sequences,
    f"scan_sequences, memory_limit={LIMIT}": by_scan_sequences_in_little_memory,
    "pandas.read_csv, build_sequences": by_build_sequences,
    "pandas groupby(...).apply(list)": by_groupby,
    "polars": by_polars,
    "duckdb": by_duckdb,
    BEAM: by_beam,
}

# Beam is for clusters: here it is many times slower, and needs separate packages.
DEFAULT_WAYS = [way for way in WAYS if way != BEAM]


def feed(folder: pathlib.Path) -> None:
    """Prints what files and memory deliver, and what a training step takes."""
    import tensorflow as tf

    import tfrs_barlow as tfrsb

    user, item, when = COLUMNS
    sequences, vocabulary = tfrsb.data.scan_sequences(
        folder / "log.csv", user_column=user, item_column=item, time_column=when
    )
    records = folder / "records"
    write = functools.partial(
        tfrsb.data.write_sequences, sequences, records, vocabulary=vocabulary
    )
    print(f"write_sequences    {seconds(write):5.1f} s")
    size = sum(file.stat().st_size for file in records.iterdir())
    shards = len(list(records.glob("*.tfrecord")))
    print(f"                   {size / MIB:5.0f} MiB in {shards} shards")
    for call in (tfrsb.data.verify_sequences, tfrsb.data.load_sequences):
        print(f"{call.__name__:18} {seconds(functools.partial(call, records)):5.1f} s")

    views = tfrsb.layers.TwoViews(
        [tfrsb.layers.RandomCrop(0.5), tfrsb.layers.RandomMask(0.2)]
    )

    def two_views(batch: dict[str, Any]) -> tuple[Any, ...]:
        return batch["history"], *views(batch["history"], training=True)

    print("\nsequences per second                     wall      CPU   columns")
    for name, source in (("files", records), ("memory", sequences)):
        for layout in ("padded", "bucketed", "ragged"):
            batches = tfrsb.data.training_batches(
                source, batch_size=BATCH_SIZE, length=LENGTH, layout=layout
            )
            batches = batches.map(two_views, tf.data.AUTOTUNE)
            figures = rate(iter(batches), 400, lambda views: cells(views[0]))
            print_rate(f"{name}, {layout}, two views", figures)
    batches = tfrsb.data.training_batches(
        sequences, batch_size=BATCH_SIZE, length=LENGTH
    )
    batch = next(iter(batches))
    model = tfrsb.models.BarlowTwinsPretraining(
        tfrsb.layers.ConvolutionEncoder(vocabulary.size)
    )
    model.compile(tf.keras.optimizers.Adam(1e-3))
    train_step = tf.function(model.train_step)

    def step(batch: dict[str, Any]) -> int:
        float(train_step(batch)["loss"])
        return cells(batch["history"])

    print_rate("a training step takes", rate(itertools.repeat(batch), 40, step))


class Rate(NamedTuple):
    """Sequences per second and per CPU second, and the columns of a batch."""

    wall: float
    cpu: float
    columns: float


def rate(batches: Iterator[Any], steps: int, step: Callable[[Any], int]) -> Rate:
    """Measures some steps, after one that does not count.

    Args:
        batches: The batches.
        steps: How many to measure.
        step: What to do with each; returns how many items the histories have, padding
            included.
    """
    step(next(batches))
    wall, cpu = time.perf_counter(), time.process_time()
    items = sum(step(batch) for batch in itertools.islice(batches, steps))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rows = steps * BATCH_SIZE
    return Rate(rows / wall, rows / cpu, items / rows)


def cells(history: Any) -> int:
    """Returns how many items histories have, padding included."""
    return int(np.prod(getattr(history, "flat_values", history).shape))


def print_rate(name: str, figures: Rate) -> None:
    """Prints a line."""
    print(
        f"{name:36} {figures.wall:8,.0f} {figures.cpu:8,.0f} {figures.columns:9.0f}",
        flush=True,
    )


def seconds(call: Callable[[], Any]) -> float:
    """Returns how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def resident(field: str) -> int:
    """Returns the memory of this process in bytes, or its peak."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{field}:")[1].split()[0])


if __name__ == "__main__":
    main()
