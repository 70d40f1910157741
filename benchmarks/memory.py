"""The memory of training: over epochs, and with millions of items.

    python -m benchmarks.memory
    python -m benchmarks.memory --parts tables

The first part generates a log of MovieLens-20M's size, writes its sequences as TFRecord
files, and pretrains from these for ten epochs with a backup every 100 steps, while the
memory of the process is sampled: it must not grow. Then it does no more than read, for
ten epochs, with the allocator as it is and with two arenas, as in the training, to
tell whether what grows is in use. The second part trains
item tables of several sizes, one process each, and compares the peak of the memory with
the size of the table.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.data import COLUMNS, MIB, RATINGS, generate, resident

BATCH_SIZE, LENGTH = 256, 100
ITEMS = 10_000_003
GIB = 2**30


class Table(NamedTuple):
    """A training whose item table is measured.

    Attributes:
        model: `"pretraining"` or `"next item"`, with 1,000 sampled items.
        items: The number of ids.
        hash_buckets: The rows of the table where they are fewer.
        optimizer: The optimizer.
        steps: How many steps to train.
    """

    model: str
    items: int
    hash_buckets: int | None
    optimizer: str
    steps: int


# Threads of tf.data allocate what others free. By default glibc gives them up to eight
# arenas for each core, which fill up one by one, and are never given back.
FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}
EPOCHS: list[tuple[str, dict[str, str]]] = [
    ("pretrain", FEW_ARENAS),
    ("read", FEW_ARENAS),
    ("read", {}),
]
SMALL = 1_003
TABLES = [
    Table("pretraining", 1_000_003, None, "sgd", 5),
    Table("pretraining", 1_000_003, None, "adagrad", 5),
    Table("pretraining", 1_000_003, None, "adam", 5),
    Table("pretraining", ITEMS, None, "adagrad", 5),
    Table("pretraining", ITEMS, 1_000_000, "adam", 30),
    Table("pretraining", ITEMS, 1_000_000, "adagrad", 30),
    Table("next item", ITEMS, 1_000_000, "adam", 30),
]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = ["epochs", "tables"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--ratings", type=int, default=RATINGS)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.only:
        name, *arguments = json.loads(flags.only)
        print(json.dumps({"epochs": epochs, "train": train}[name](*arguments)))
        return
    if "epochs" in flags.parts:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_records(folder, flags.ratings)
            for task, arenas in EPOCHS:
                found = in_process("epochs", str(folder), task, **arenas)
                print_epochs(found, task, arenas)
    if "tables" in flags.parts:
        print_tables()


def in_process(*call: Any, **environment: str) -> Any:
    """Calls a function in a separate process, and returns what it returns."""
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--only", json.dumps(call)],
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def write_records(folder: pathlib.Path, ratings: int) -> None:
    """Writes the sequences of a generated log."""
    import tfrs_barlow as tfrsb

    generate(folder / "log.csv", ratings)
    user, item, when = COLUMNS
    sequences, vocabulary = tfrsb.data.scan_sequences(
        folder / "log.csv", user_column=user, item_column=item, time_column=when
    )
    tfrsb.data.write_sequences(sequences, folder / "records", vocabulary=vocabulary)


def epochs(folder: str, task: str) -> Any:
    """Lets every user be seen some times, and samples the memory."""
    records = pathlib.Path(folder) / "records"
    users = json.loads((records / "manifest.json").read_text())["users"]
    samples: list[tuple[int, float]] = []

    def sample(step: int) -> None:
        if step % 20 == 0:
            samples.append((step, resident("VmRSS") / MIB))

    start = time.perf_counter()
    {"pretrain": pretrain, "read": read}[task](records, users, sample)
    return samples, users, time.perf_counter() - start


def read(records: pathlib.Path, users: int, sample: Callable[[int], None]) -> None:
    """Reads the batches of ten epochs."""
    import tfrs_barlow as tfrsb

    batches = tfrsb.data.training_batches(records, batch_size=BATCH_SIZE, length=LENGTH)
    for step, _ in enumerate(batches.take(10 * users // BATCH_SIZE), 1):
        sample(step)


def pretrain(records: pathlib.Path, users: int, sample: Callable[[int], None]) -> None:
    """Trains for ten epochs."""
    import tensorflow as tf

    import tfrs_barlow as tfrsb

    class Sample(tf.keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            sample(int(self.model.optimizer.iterations))

    vocabulary = json.loads((records / "vocabulary.json").read_text())
    model = tfrsb.models.BarlowTwinsPretraining(
        tfrsb.layers.ItemPoolingEncoder(len(vocabulary) + 3, pooling="mean")
    )
    model.compile(tf.keras.optimizers.Adam(1e-3))
    tfrsb.models.fit_resumable(
        model,
        functools.partial(
            tfrsb.data.training_batches, records, batch_size=BATCH_SIZE, length=LENGTH
        ),
        steps=10 * users // BATCH_SIZE,
        steps_per_epoch=100,
        backup_dir=records.parent / "backup",
        callbacks=[Sample()],
        verbose=0,
    )


def print_epochs(found: Any, task: str, environment: dict[str, str]) -> None:
    """Prints the memory in each epoch, and by how much it grew."""
    samples, users, seconds = found
    steps, sizes = np.array(samples).T
    numbers = (steps - 1) * BATCH_SIZE // users
    count = round(steps[-1] * BATCH_SIZE / users)
    setting = " ".join(f"{name}={value}" for name, value in environment.items())
    print(f"{task}, {count} epochs, {seconds:.0f} s, {setting or 'default arenas'}")
    print("epoch               " + "".join(f"{n + 1:7}" for n in range(count)))
    for name, of in (("mean", np.mean), ("most", np.max)):
        figures = [of(sizes[numbers == number]) for number in range(count)]
        row = "".join(f"{size:7.0f}" for size in figures)
        print(f"resident MiB, {name}  {row}")
    late = numbers >= count // 2
    slope = 1000 * np.polyfit(steps[late], sizes[late], 1)[0]
    print(f"second half: {slope:+.0f} MiB per 1,000 steps\n", flush=True)


def train(*setting: Any) -> Any:
    """Trains on random histories; returns table size, peak, losses and seconds."""
    import tensorflow as tf

    import tfrs_barlow as tfrsb

    table = Table(*setting)
    if table.model == "pretraining":
        encoder: Any = tfrsb.layers.ItemPoolingEncoder(
            table.items, hash_buckets=table.hash_buckets, pooling="mean"
        )
        model: Any = tfrsb.models.BarlowTwinsPretraining(encoder)
    else:
        encoder = tfrsb.layers.GRUEncoder(
            table.items, output_dim=64, hash_buckets=table.hash_buckets
        )
        model = tfrsb.models.NextItemModel(
            encoder,
            encoder.item_embedding,
            vocabulary_size=table.items,
            num_sampled=1000,
        )
    model.compile(tf.keras.optimizers.get(table.optimizer))
    rng = np.random.default_rng(0)
    # Users of one taste: items around a number of theirs.
    taste = rng.integers(3, table.items, [4096, 1])
    items = taste + rng.integers(0, 50, [4096, LENGTH + 1])
    items = np.minimum(items, table.items - 1)
    features = {"history": items[:, :-1], "label": items[:, -1]}
    batches = tf.data.Dataset.from_tensor_slices(features).repeat().batch(BATCH_SIZE)
    losses: list[float] = []
    ticks = [time.perf_counter()]

    class Record(tf.keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            losses.append(float(logs["loss"]))
            ticks.append(time.perf_counter())

    model.fit(batches.take(table.steps), callbacks=[Record()], verbose=0)
    seconds = float(np.median(np.diff(ticks[2:])))
    size = 4 * tf.size(encoder.item_embedding.embeddings).numpy()
    return int(size), resident("VmHWM"), losses[0], losses[-1], seconds


def print_tables() -> None:
    """Prints the size of several item tables and the memory of their training."""
    small = {
        model: in_process("train", model, SMALL, None, "adagrad", 5)[1]
        for model in ("pretraining", "next item")
    }
    print(
        "model            items       rows optimizer     table, GiB  measured"
        "  peak of all  s/step  loss, first and last"
    )
    for table in TABLES:
        size, peak, first, last, seconds = in_process("train", *table)
        grown = peak - small[table.model]
        rows = table.hash_buckets or table.items
        print(
            f"{table.model:12} {table.items:9,} {rows:10,} {table.optimizer:9} "
            f"{size / GIB:14.2f} {grown / GIB:9.2f} {peak / GIB:12.2f} "
            f"{seconds:7.2f} {first:9.2f} {last:9.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
