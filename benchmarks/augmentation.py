"""Measures the augmentations against their peers: two views of every sequence.

    pip install '.[benchmark]'
    pip install --no-deps recbole
    python -m benchmarks.augmentation
    python -m benchmarks.augmentation --data_dir path/to/ml-1m --yelp_dir path/to/yelp
    python -m benchmarks.augmentation --datasets ml-1m --settings crop mask --cores 1

The sequences are those of MovieLens-1M, cut to their last 200 items, and of Yelp, cut
to 50; where the data are not at hand, made-up ones of the same lengths take their
place. Batches are prepared in advance, for all alike: what counts is the time from a
batch to its two views. Every cell of the table is a separate process, bound to one
core or to two, and those to be compared follow each other, so that a busy spell of the
machine meets all of them. A round takes twenty minutes.

The results are written as a table (CSV and Markdown) and a plot. The exit status is 1
if a process failed, or a peer keeps another share of the items than we do.
"""

from __future__ import annotations

import argparse
import collections
import csv
import datetime
import importlib.metadata
import itertools
import json
import math
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks import measure
from benchmarks.augmentation_peers import (
    BATCH_SIZES,
    CHOICE_RATES,
    COPY,
    ICLREC,
    METHODS,
    OURS,
    OURS_COMPILED,
    OURS_IN_TF_DATA,
    RATES,
    RECBOLE,
    Method,
    Prepared,
    Work,
)

BATCH_SIZE = BATCH_SIZES[0]
CORES = (1, 2)
CLOCKS = ("cpu", "wall")
SIMILAR_ITEMS = ("substitute", "insert")
PEERS = (RECBOLE, ICLREC)
NEIGHBORS = 10
WARM_UP_EPOCHS = 2
LEAST_EPOCHS = 5

# Others round the number of items down, we round it so that the mean is exact.
KEPT_TOLERANCE = 0.06

COLORS = {
    OURS: "C0",
    OURS_COMPILED: "C2",
    OURS_IN_TF_DATA: "C9",
    RECBOLE: "C1",
    ICLREC: "C3",
}
BAR_WIDTH = 0.2


class Dataset(NamedTuple):
    """Sequences to make views of.

    Attributes:
        name: How tables and flags call them.
        length: How many of the last items of a sequence count.
        users: How many sequences there are, here and below where they are made up.
        items: How many different items.
        log_lengths: The mean and standard deviation of the logarithm of their lengths.
        shortest: The length of the shortest.
        longest: The length of the longest.
    """

    name: str
    length: int
    users: int
    items: int
    log_lengths: tuple[float, float]
    shortest: int
    longest: int


MOVIELENS = Dataset("ml-1m", 200, 6_040, 3_706, (4.605, 0.990), 20, 2_314)
YELP = Dataset("yelp", 50, 30_425, 20_027, (2.128, 0.565), 5, 350)
DATASETS = {dataset.name: dataset for dataset in (MOVIELENS, YELP)}


class Cell(NamedTuple):
    """What one process measures.

    Attributes:
        dataset: A key of `DATASETS`.
        setting: What is done to the sequences.
        method: The name of a `Method`.
        batch_size: How many sequences get their views at once.
        cores: How many cores there are.
    """

    dataset: str
    setting: str
    method: str
    batch_size: int
    cores: int


class Result(NamedTuple):
    """What a process has measured.

    Attributes:
        sequences: How many sequences an epoch has.
        cpu_s: CPU seconds of each epoch, of all threads and worker processes.
        wall_s: Seconds that went by in each epoch.
        kept: Items in the views per item in the sequences.
        changed: The share of the items that have something else in their place.
    """

    sequences: int
    cpu_s: list[float]
    wall_s: list[float]
    kept: float
    changed: float

    def throughput(self, clock: str) -> float:
        """Returns sequences per second by `"cpu"` or `"wall"`, the median of epochs."""
        seconds = {"cpu": self.cpu_s, "wall": self.wall_s}[clock]
        return self.sequences / statistics.median(seconds)


Results = dict[Cell, Result]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark that the command line describes."""
    flags = _parser().parse_args(arguments)
    if flags.cell:
        cell = Cell(*json.loads(flags.cell))
        print(json.dumps(_measure_here(cell, flags)._asdict()))
        return 0
    cells = _cells(flags, _available(flags))
    with tempfile.TemporaryDirectory() as folder:
        flags.inputs = pathlib.Path(folder)
        sources = [_save_inputs(DATASETS[name], flags) for name in flags.datasets]
        results, failures = _run(cells * flags.rounds, flags)
    failures += _disagreements(results)
    for failure in failures:
        print(failure)
    if results:
        _write(results, sources, flags.output_dir)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.augmentation",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = pathlib.Path(os.environ.get("TFRS_BARLOW_DATA", "../shared/data"))
    for flag, dataset in (("--data_dir", MOVIELENS), ("--yelp_dir", YELP)):
        parser.add_argument(
            flag,
            type=pathlib.Path,
            default=data / dataset.name,
            help=f"where {dataset.name} lies; made up if there is nothing: %(default)s",
        )
    parser.add_argument(
        "--output_dir", type=pathlib.Path, default=pathlib.Path("benchmarks/results")
    )
    settings = _distinct(setting for one in METHODS for setting in one.settings)
    names = [one.name for one in METHODS]
    for flag, choices in (
        ("--datasets", list(DATASETS)),
        ("--settings", settings),
        ("--methods", names),
    ):
        parser.add_argument(flag, nargs="+", default=choices, choices=choices)
    parser.add_argument(
        "--cores", nargs="+", type=int, default=list(CORES), choices=CORES
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=1.0,
        help=f"CPU seconds to repeat epochs for; there are at least {LEAST_EPOCHS}",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="how often to go through all cells; the median of all epochs counts",
    )
    # How the benchmark calls itself: measure one cell, here, on inputs saved before.
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser


def _available(flags: argparse.Namespace) -> list[Method]:
    """Returns what is to be measured, and says what cannot be."""
    available = []
    for method in METHODS:
        if method.name not in flags.methods:
            continue
        if missing := method.missing_packages():
            print(f"skipping {method.name}: {' and '.join(missing)} not installed")
        else:
            available.append(method)
    return available


def _cells(flags: argparse.Namespace, methods: Sequence[Method]) -> list[Cell]:
    """Returns the cells, those next to each other that are to be compared."""
    return [
        Cell(dataset, setting, method.name, batch_size, cores)
        for dataset, cores, setting in itertools.product(
            flags.datasets, flags.cores, flags.settings
        )
        for method in methods
        if setting in method.settings
        for batch_size in method.batch_sizes
    ]


def _save_inputs(dataset: Dataset, flags: argparse.Namespace) -> str:
    """Saves what the processes read, once for all of them, and says where it is from.

    They get items from 1 on, in rows padded on the right with 0.
    """
    import tfrs_barlow as tfrsb

    sequences, size, source = _sequences(dataset, flags)
    dense = sequences.to_dense(dataset.length)
    shift = tfrsb.data.FIRST_ITEM_ID - 1
    np.savez(
        flags.inputs / f"{dataset.name}.npz",
        rows=np.where(dense == tfrsb.data.PADDING_ID, 0, dense - shift),
        neighbors=tfrsb.data.cooccurrence_neighbors(sequences, size, k=NEIGHBORS),
    )
    mean = (dense != tfrsb.data.PADDING_ID).sum(axis=1).mean()
    return (
        f"{dataset.name}: {source}, {len(sequences):,} sequences cut to the last "
        f"{dataset.length} items, which leaves {mean:.1f} on average"
    )


def _sequences(dataset: Dataset, flags: argparse.Namespace) -> tuple[Any, int, str]:
    """Returns `UserSequences`, the size of the vocabulary, and where they are from."""
    import tfrs_barlow as tfrsb

    log = _movielens(flags) if dataset is MOVIELENS else _yelp(flags)
    if log is None:
        made_up = _made_up_sequences(dataset)
        size = dataset.items + tfrsb.data.FIRST_ITEM_ID
        return made_up, size, "made up, with lengths distributed as the real ones"
    sequences, vocabulary = tfrsb.data.build_sequences(log)
    return sequences, vocabulary.size, "the real data"


def _movielens(flags: argparse.Namespace) -> Any:
    import tfrs_barlow as tfrsb

    if not (flags.data_dir / "ratings.dat").is_file():
        return None
    return tfrsb.data.load_movielens("ml-1m", flags.data_dir)


def _yelp(flags: argparse.Namespace) -> Any:
    import tfrs_barlow as tfrsb

    if not (flags.yelp_dir / "yelp_academic_dataset_review.json").is_file():
        return None
    return tfrsb.data.read_yelp(flags.yelp_dir)


def _made_up_sequences(dataset: Dataset) -> Any:
    """Returns sequences of log-normal lengths, of items with a long tail."""
    import tfrs_barlow as tfrsb

    random = np.random.default_rng(0)
    lengths = np.exp(random.normal(*dataset.log_lengths, dataset.users)).astype(int)
    lengths = lengths.clip(dataset.shortest, dataset.longest)
    popularity = 1 / (10 + np.arange(dataset.items))
    items = random.choice(dataset.items, lengths.sum(), p=popularity / popularity.sum())
    return tfrsb.data.UserSequences(
        user_ids=np.arange(dataset.users),
        item_ids=(items + tfrsb.data.FIRST_ITEM_ID).astype(np.int32),
        timestamps=np.zeros(len(items), np.int64),
        row_splits=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def _run(cells: Sequence[Cell], flags: argparse.Namespace) -> tuple[Results, list[str]]:
    """Measures every cell, and returns what went wrong."""
    results: Results = {}
    failures = []
    for count, cell in enumerate(cells, 1):
        label = f"[{count}/{len(cells)}] {_describe(cell)}"
        try:
            result = _in_fresh_process(cell, flags)
        except measure.ProcessError as error:
            failures.append(f"{_describe(cell)} failed: {error}")
            print(f"{label}: failed", flush=True)
            continue
        results[cell] = _pooled(results[cell], result) if cell in results else result
        print(
            f"{label}: {result.throughput('cpu'):,.0f} sequences/s of CPU time, "
            f"{result.throughput('wall'):,.0f} of wall time, "
            f"{len(result.cpu_s)} epochs, {result.kept:.3f} kept, "
            f"{result.changed:.3f} changed",
            flush=True,
        )
    return results, failures


def _describe(cell: Cell) -> str:
    return (
        f"{cell.dataset} {cell.setting} {cell.method}, batch {cell.batch_size}, "
        f"{_cores_text(cell.cores)}"
    )


def _cores_text(cores: int) -> str:
    return "1 core" if cores == 1 else f"{cores} cores"


def _in_fresh_process(cell: Cell, flags: argparse.Namespace) -> Result:
    """Runs this module on one cell, in a process with threads for its cores."""
    threads = {
        "TF_NUM_INTEROP_THREADS": str(cell.cores),
        "TF_NUM_INTRAOP_THREADS": str(cell.cores),
    }
    process = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.augmentation"),
            f"--cell={json.dumps(cell)}",
            f"--inputs={flags.inputs}",
            f"--budget={flags.budget}",
        ],
        env={**os.environ, **measure.ONE_THREAD, **threads},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"rc {process.returncode}"]
        raise measure.ProcessError(lines[-1])
    return Result(**json.loads(process.stdout.splitlines()[-1]))


def _pooled(one: Result, other: Result) -> Result:
    """Returns all epochs of two measurements of the same cell."""
    return other._replace(
        cpu_s=one.cpu_s + other.cpu_s, wall_s=one.wall_s + other.wall_s
    )


def _measure_here(cell: Cell, flags: argparse.Namespace) -> Result:
    """Measures one cell in this process."""
    _bind_to_cores(cell.cores)
    inputs = np.load(flags.inputs / f"{cell.dataset}.npz")
    (method,) = (one for one in METHODS if one.name == cell.method)
    prepared = method.prepare(
        Work(
            cell.setting,
            inputs["rows"],
            inputs["neighbors"],
            cell.batch_size,
            cell.cores,
        )
    )
    kept, changed = _kept_and_changed(prepared)
    for _ in range(WARM_UP_EPOCHS):
        _timed_epoch(prepared)
    epochs: list[tuple[float, float]] = []
    while len(epochs) < LEAST_EPOCHS or sum(cpu for cpu, _ in epochs) < flags.budget:
        epochs.append(_timed_epoch(prepared))
    cpu_s, wall_s = (list(seconds) for seconds in zip(*epochs, strict=True))
    return Result(len(prepared.inputs), cpu_s, wall_s, kept, changed)


def _bind_to_cores(count: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < count:
        raise RuntimeError(f"there are {len(cores)} cores, but {count} are wanted")
    os.sched_setaffinity(0, cores[-count:])


def _timed_epoch(prepared: Prepared) -> tuple[float, float]:
    """Returns CPU and wall seconds of one epoch, whose views are dropped."""
    cpu, wall = _cpu_seconds(), time.perf_counter()
    collections.deque(prepared.epoch(), maxlen=0)
    return _cpu_seconds() - cpu, time.perf_counter() - wall


def _cpu_seconds() -> float:
    """Returns the CPU time so far, that of living worker processes included."""
    ticks = 0
    for worker in multiprocessing.active_children():
        status = pathlib.Path(f"/proc/{worker.pid}/stat").read_text()
        # User and system time; the name before them may hold spaces.
        ticks += sum(map(int, status.rpartition(")")[2].split()[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _kept_and_changed(prepared: Prepared) -> tuple[float, float]:
    """Returns what the views of an epoch are like: see `Result`."""
    counts, start = np.zeros(3), 0
    for views in prepared.epoch():
        size = len(views[0])
        inputs = prepared.inputs[start : start + size]
        for view in map(np.asarray, views):
            counts += _counts(inputs, view, prepared.items)
        start += size
    items, kept, changed = counts
    return kept / items, changed / items


def _counts(inputs: np.ndarray, view: np.ndarray, items: range) -> list[int]:
    is_item = inputs > 0
    kept = (view >= items.start) & (view < items.stop)
    return [is_item.sum(), kept.sum(), (is_item & (inputs != view)).sum()]


def _disagreements(results: Results) -> list[str]:
    """Returns what keeps another share of the items than ours: other work."""
    return [
        f"{_describe(cell)}: keeps {result.kept:.3f} of the items, ours {ours.kept:.3f}"
        for cell, result in results.items()
        if (ours := results.get(cell._replace(method=OURS)))
        and not math.isclose(result.kept, ours.kept, abs_tol=KEPT_TOLERANCE)
    ]


def _write(results: Results, sources: Sequence[str], folder: pathlib.Path) -> None:
    """Writes everything that there is to say about the results."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / "augmentation"
    _write_csv(results, stem.with_suffix(".csv"))
    figure = stem.with_suffix(".png")
    plotted = _plot(results, figure)
    text = _markdown(results, sources, figure.name if plotted else None)
    stem.with_suffix(".md").write_text(text)
    print(f"wrote {stem}.*")


def _write_csv(results: Results, path: pathlib.Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        metrics = ["cpu_sequences_per_s", "wall_sequences_per_s", "epochs"]
        writer.writerow([*Cell._fields, *metrics, "kept", "changed"])
        for cell, result in results.items():
            speeds = [f"{result.throughput(clock):.0f}" for clock in CLOCKS]
            shares = [f"{share:.4f}" for share in (result.kept, result.changed)]
            writer.writerow([*cell, *speeds, len(result.cpu_s), *shares])


def _markdown(results: Results, sources: Sequence[str], plot: str | None) -> str:
    """Returns the report: the machine, ratios, the measurements behind them."""
    rates = ", ".join(f"{name} {rate:g}" for name, rate in RATES.items())
    choice = ", ".join(f"{name} {rate:g}" for name, rate in CHOICE_RATES.items())
    measured = _distinct(cell.method for cell in results)
    parts = [
        "# Throughput of augmentations",
        "Two views of every sequence, from batches prepared in advance: the median of "
        "epochs, each cell in a separate process that is bound to its cores. CPU "
        "time is that of all threads and worker processes; it too depends on how busy "
        "the machine is, so that only results of one run compare. On two cores the "
        "peers have two worker processes of a `torch` data loader.",
        _machine(),
        "\n".join(f"- {source}" for source in sources),
        f"Rates: {rates}; choice, one of three for each sequence: {choice}.",
        "\n".join(
            f"- {one.name}: {one.source}" for one in METHODS if one.name in measured
        ),
    ]
    if plot:
        parts += [f"![Sequences per second by method]({plot})"]
    parts += [
        "## Ours / others",
        *_least_ratios(results),
        f"Above 1x ours is faster. At batch size {BATCH_SIZE}:",
        _ratios(results),
    ]
    parts.append("## The measurements")
    parts += [
        _measurements(results, cores, clock)
        for cores in _distinct(cell.cores for cell in results)
        for clock in CLOCKS
    ]
    parts.append(_shares(results))
    return "\n\n".join(parts) + "\n"


def _machine() -> str:
    versions = []
    for package in ("tfrs-barlow", "tensorflow", "torch", "recbole", "numpy"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return f"{measure.machine()}, {', '.join(versions)}; {today}."


def _ratios(results: Results) -> str:
    """Returns a table of how many times as fast ours is as something else."""
    columns = _distinct((cell.cores, clock) for cell in results for clock in CLOCKS)
    header = ["sequences", "setting", "method", "compared with"]
    header += [f"{_cores_text(cores)}, {clock}" for cores, clock in columns]
    rows = []
    for dataset, setting in _distinct((cell.dataset, cell.setting) for cell in results):
        for method, against, other in _comparisons(setting):
            ratios = []
            for cores, clock in columns:
                ours = Cell(dataset, setting, method, BATCH_SIZE, cores)
                theirs = Cell(dataset, against, other, BATCH_SIZE, cores)
                ratios.append(_ratio_text(results, ours, theirs, clock))
            if any(ratios):
                name = other if other in (*PEERS, COPY) else f"{other}, {against}"
                rows.append([dataset, setting, method, name, *ratios])
    return _table(header, rows, labels=4)


def _comparisons(setting: str) -> list[tuple[str, str, str]]:
    """Returns what to compare: our method, and setting and method of the other."""
    comparisons = [
        (ours, setting, peer)
        for peer, ours in itertools.product(
            PEERS, (OURS, OURS_COMPILED, OURS_IN_TF_DATA)
        )
    ]
    if setting in SIMILAR_ITEMS:
        comparisons += [(ours, "mask", ours) for ours in (OURS, OURS_COMPILED)]
    return [*comparisons, (OURS, COPY, COPY)]


def _ratio_text(results: Results, cell: Cell, other: Cell, clock: str) -> str:
    if cell not in results or other not in results:
        return ""
    return _ratio_words(
        results[cell].throughput(clock) / results[other].throughput(clock)
    )


def _ratio_words(ratio: float) -> str:
    return f"{ratio:.2g}x" if ratio < 10 else f"{ratio:.0f}x"


def _least_ratios(results: Results) -> list[str]:
    """Returns a table of the peers that come closest to ours, if any was measured."""
    cores = _distinct(cell.cores for cell in results)
    rows = []
    for method, batch_size in itertools.product((OURS, OURS_COMPILED), BATCH_SIZES):
        closest = [_closest_peer(results, method, batch_size, count) for count in cores]
        if any(closest):
            rows.append([f"{method}, {batch_size}", *closest])
    if not rows:
        return []
    header = ["method, batch size", *map(_cores_text, cores)]
    return [
        "The least of all ratios of CPU time to peers, which take one sequence after "
        "the other and so were measured at one batch size:",
        _table(header, rows, labels=1),
    ]


def _closest_peer(results: Results, method: str, batch_size: int, cores: int) -> str:
    """Returns the least ratio of ours to a peer, and where it is."""
    ratios = {}
    for cell, result in results.items():
        ours = results.get(cell._replace(method=method, batch_size=batch_size))
        if cell.method in PEERS and cell.cores == cores and ours:
            ratios[cell] = ours.throughput("cpu") / result.throughput("cpu")
    if not ratios:
        return ""
    least = min(ratios, key=lambda cell: ratios[cell])
    place = f"{least.dataset} {least.setting}, {least.method}"
    return f"{_ratio_words(ratios[least])} ({place})"


def _measurements(results: Results, cores: int, clock: str) -> str:
    """Returns a table of sequences per second: settings down, methods across."""
    cells = [cell for cell in results if cell.cores == cores]
    columns = _distinct((cell.method, cell.batch_size) for cell in cells)
    header = ["sequences", "setting", *(f"{name}, {size}" for name, size in columns)]
    rows = []
    for dataset, setting in _distinct((cell.dataset, cell.setting) for cell in cells):
        row = [Cell(dataset, setting, name, size, cores) for name, size in columns]
        texts = [
            f"{results[cell].throughput(clock):,.0f}" if cell in results else ""
            for cell in row
        ]
        rows.append([dataset, setting, *texts])
    title = f"### Sequences per second of {clock} time, {_cores_text(cores)}"
    return f"{title}\n\n{_table(header, rows, labels=2)}"


def _shares(results: Results) -> str:
    """Returns a table of what the views are like: all should do the same work."""
    cores = min(cell.cores for cell in results)
    rows = [
        [*cell[:3], f"{result.kept:.3f}", f"{result.changed:.3f}"]
        for cell, result in results.items()
        if (cell.batch_size, cell.cores) == (BATCH_SIZE, cores)
    ]
    header = ["sequences", "setting", "method", "items kept", "positions changed"]
    return (
        "## What the views are like\n\nItems in the views per item in the sequences, "
        "and the share of the items that have something else in their place: padding, "
        f"a mask, another item.\n\n{_table(header, rows, labels=3)}"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], labels: int) -> str:
    """Returns a Markdown table whose first columns are labels."""
    rule = ["---"] * labels + ["--:"] * (len(header) - labels)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def _plot(results: Results, path: pathlib.Path) -> bool:
    """Draws sequences per second, if matplotlib is there."""
    try:
        from matplotlib import pyplot
    except ImportError:
        print("skipping the plot: pip install matplotlib")
        return False
    datasets = _distinct(cell.dataset for cell in results)
    cores = sorted(_distinct(cell.cores for cell in results))
    figure, axes = pyplot.subplots(
        len(cores),
        len(datasets),
        figsize=(1 + 5.4 * len(datasets), 0.6 + 3.2 * len(cores)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for (count, dataset), axis in zip(
        itertools.product(cores, datasets), axes.flat, strict=True
    ):
        clock = "cpu" if count == 1 else "wall"
        _draw(axis, results, dataset, count, clock)
        axis.set_title(f"{dataset}, {_cores_text(count)}")
        axis.set_ylabel(f"sequences per s of {clock} time")
    handles: dict[str, Any] = {}
    for axis in axes.flat:
        handles |= dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
    )
    figure.savefig(path, dpi=150)
    return True


def _draw(axis: Any, results: Results, dataset: str, cores: int, clock: str) -> None:
    """Draws a group of bars for each setting."""
    speeds = {
        (cell.setting, cell.method): result.throughput(clock)
        for cell, result in results.items()
        if (cell.dataset, cell.batch_size, cell.cores) == (dataset, BATCH_SIZE, cores)
    }
    settings = _distinct(setting for setting, _ in speeds if setting != COPY)
    for index, setting in enumerate(settings):
        methods = [one.name for one in METHODS if (setting, one.name) in speeds]
        for place, name in enumerate(methods):
            axis.bar(
                index + (place - (len(methods) - 1) / 2) * BAR_WIDTH,
                speeds[setting, name],
                BAR_WIDTH,
                color=COLORS[name],
                label=name,
            )
    if (COPY, COPY) in speeds:
        axis.axhline(speeds[COPY, COPY], color="gray", linestyle=":", label=COPY)
    axis.set_xticks(range(len(settings)), settings)
    axis.set_yscale("log")
    axis.set_ylim(bottom=1e3)
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Returns every value once, in the order of its first appearance."""
    return list(dict.fromkeys(values))


if __name__ == "__main__":
    raise SystemExit(main())
