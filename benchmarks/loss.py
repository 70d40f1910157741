"""Measures the losses against their peers: CPU time and peak memory of one step.

    pip install '.[benchmark]'
    python -m benchmarks.loss
    python -m benchmarks.loss --shapes 64x8192 256x8192 --peers lightly

A step is the loss and its gradient with respect to both views, on one thread. Every
cell of the table is measured in a fresh process, and those of one shape follow each
other, so that a busy spell of the machine meets all of them. The first command takes
half an hour.

The results are written as a table (CSV and Markdown) and a plot. The exit status is 1
if a process failed or a peer computes another value.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import importlib.metadata
import itertools
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks import measure
from benchmarks.loss_peers import CANDIDATES, Candidate
from benchmarks.measure import Measurement

BATCHES = (64, 256, 1024)
DIMS = (256, 1024, 4096, 8192)

# Some add 1e-5 to the variance, some nothing: this moves the loss by at most 6e-5 here.
RELATIVE_TOLERANCE = 1e-4

Shape = tuple[int, int]


class Cell(NamedTuple):
    """One loss at one shape with one allocator.

    Attributes:
        name: The name of the candidate.
        shape: `(batch, dim)`.
        allocator: A key of `measure.ALLOCATORS`.
    """

    name: str
    shape: Shape
    allocator: str


Results = dict[Cell, Measurement]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark that the command line describes."""
    flags = _parser().parse_args(arguments)
    if flags.cell:
        print(measure.to_json(_measure_here(flags)))
        return 0
    candidates = _available(flags)
    cells = [
        Cell(candidate.name, shape, allocator)
        for _ in range(flags.rounds)
        for shape in flags.shapes
        for allocator in flags.allocators
        for candidate in candidates
    ]
    results, failures = _run(cells, flags)
    failures += _disagreements(results)
    for failure in failures:
        print(failure)
    if results:
        _write(results, flags)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loss",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output_dir", type=pathlib.Path, default=pathlib.Path("benchmarks/results")
    )
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=_shape,
        default=list(itertools.product(BATCHES, DIMS)),
        metavar="BATCHxDIM",
    )
    parser.add_argument("--objective", default="barlow_twins", choices=list(CANDIDATES))
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=_distinct(one.name for _, *some in CANDIDATES.values() for one in some),
        metavar="NAME",
        help="what to compare ours with: %(choices)s; if not given, all",
    )
    parser.add_argument(
        "--allocators",
        nargs="+",
        default=list(measure.ALLOCATORS),
        choices=list(measure.ALLOCATORS),
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=1.0,
        help="CPU seconds to repeat each step for; it runs at least once",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="how often to go through all cells; the least measurement counts",
    )
    # How the benchmark calls itself: measure one candidate at one shape, here.
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    return parser


def _shape(text: str) -> Shape:
    batch, dim = text.split("x")
    return int(batch), int(dim)


def _shape_text(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _available(flags: argparse.Namespace) -> list[Candidate]:
    """Returns what is to be measured, and says what cannot be."""
    ours, *peers = CANDIDATES[flags.objective]
    available = [ours]
    for peer in peers:
        if flags.peers is not None and peer.name not in flags.peers:
            continue
        if missing := peer.missing_packages():
            print(f"skipping {peer.name}: pip install {' '.join(missing)}")
        else:
            available.append(peer)
    return available


def _run(cells: Sequence[Cell], flags: argparse.Namespace) -> tuple[Results, list[str]]:
    """Measures every cell; returns the results and what went wrong."""
    results: Results = {}
    failures = []
    for count, cell in enumerate(cells, 1):
        label = f"[{count}/{len(cells)}] {_describe(cell)}"
        arguments = [
            "benchmarks.loss",
            f"--objective={flags.objective}",
            f"--cell={cell.name}",
            f"--shapes={_shape_text(cell.shape)}",
            f"--allocators={cell.allocator}",
            f"--budget={flags.budget}",
        ]
        try:
            result = measure.in_fresh_process(
                arguments, measure.ALLOCATORS[cell.allocator].environment
            )
        except measure.ProcessError as error:
            failures.append(f"{_describe(cell)} failed: {error}")
            print(f"{label}: failed", flush=True)
            continue
        results[cell] = measure.least(result, results.get(cell, result))
        print(
            f"{label}: {result.cpu_ms:.4g} ms, {result.peak_mib:.4g} MiB, "
            f"{result.repetitions} repetitions",
            flush=True,
        )
    return results, failures


def _describe(cell: Cell) -> str:
    return f"{_shape_text(cell.shape)} {cell.allocator} {cell.name}"


def _measure_here(flags: argparse.Namespace) -> Measurement:
    """Measures one cell in this process."""
    (candidate,) = (
        one for one in CANDIDATES[flags.objective] if one.name == flags.cell
    )
    (shape,) = flags.shapes
    loss = candidate.load()
    # A small step of the same proportions first: loading kernels costs memory too.
    small = tuple(max(4, size // 16) for size in shape)
    candidate.step(loss, *_views(*small))()
    step = candidate.step(loss, *_views(*shape))
    (allocator,) = flags.allocators
    return measure.measure(step, flags.budget, measure.ALLOCATORS[allocator].warm_up)


def _views(batch: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same two views in every process; their features correlate by 0.8."""
    random = np.random.default_rng(0)
    shared = random.standard_normal((batch, dim), dtype=np.float32)

    def view() -> np.ndarray:
        noise = random.standard_normal(shared.shape, dtype=np.float32)
        noise *= 0.5
        noise += shared
        return noise

    return view(), view()


def _disagreements(results: Results) -> list[str]:
    """Returns what computes another value than ours: it would be another loss."""
    disagreements = []
    for cell, result in results.items():
        ours = _ours(results, cell)
        if ours and not math.isclose(
            result.value, ours.value, rel_tol=RELATIVE_TOLERANCE
        ):
            disagreements.append(
                f"{_describe(cell)}: the loss is {result.value}, ours {ours.value}"
            )
    return disagreements


def _ours(results: Results, cell: Cell) -> Measurement | None:
    """Returns the measurement of ours that stands against a peer's."""
    return results.get(cell._replace(name="ours")) if cell.name != "ours" else None


def _write(results: Results, flags: argparse.Namespace) -> None:
    """Writes the tables and the plot."""
    flags.output_dir.mkdir(parents=True, exist_ok=True)
    objective = "" if flags.objective == "barlow_twins" else f"_{flags.objective}"
    stem = flags.output_dir / f"loss{objective}"
    _write_csv(results, stem.with_suffix(".csv"))
    names = _distinct(cell.name for cell in results)
    figure = stem.with_suffix(".png")
    plotted = len(names) > 1 and _plot(results, figure)
    measured = [one for one in CANDIDATES[flags.objective] if one.name in names]
    text = _markdown(results, measured, figure.name if plotted else None)
    stem.with_suffix(".md").write_text(text)
    print(f"wrote {stem}.*")


def _write_csv(results: Results, path: pathlib.Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["batch", "dim", "allocator", "name", *Measurement._fields])
        for cell, result in results.items():
            writer.writerow([*cell.shape, cell.allocator, cell.name, *result])


def _markdown(results: Results, measured: list[Candidate], plot: str | None) -> str:
    """Returns the report: the machine, ratios, the measurements behind them."""
    parts = [
        "# CPU time and peak memory of a loss and its gradients",
        "Forward and backward with respect to both views of `[N, D]`, on one thread, "
        "each cell in a fresh process: the least CPU time (user + system) of its "
        "repetitions, and by how much the process grew at most. Of the memory, about 5 "
        "MiB is what a framework needs at any size; ratios from 0.9x to 1.1x are ties.",
        _machine(),
        "\n".join(f"- {one.name}: {one.source}" for one in measured),
        "Allocators, by glibc's environment variables:",
        _allocators(),
    ]
    if plot:
        parts += [
            f"![CPU time and peak memory against the dimension]({plot})",
            "A line is the lesser of the allocators, its band reaches to the greater.",
        ]
    names = [one.name for one in measured]
    if len(names) > 1:
        parts += ["## Peer / ours", _least_ratio(results)]
        parts += _tables(results, names[1:], "CPU time", "cpu_ms", _ratio_text)
        parts += _tables(results, names[1:], "Peak memory", "peak_mib", _ratio_text)
    parts.append("## The measurements themselves")
    parts += _tables(results, names, "CPU time in ms", "cpu_ms", _figure_text)
    parts += _tables(results, names, "Peak memory in MiB", "peak_mib", _figure_text)
    return "\n\n".join(parts) + "\n"


def _machine() -> str:
    packages = ("tfrs-barlow", "tensorflow", "torch", "lightly")
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return f"{measure.machine()}, {', '.join(versions)}; {today}."


def _allocators() -> str:
    lines = []
    for name, allocator in measure.ALLOCATORS.items():
        variables = allocator.environment.items()
        text = " ".join(f"`{variable}={value}`" for variable, value in variables)
        lines.append(f"- {name}: {text or 'none'}")
    return "\n".join(lines)


def _tables(
    results: Results,
    names: Sequence[str],
    title: str,
    field: str,
    text: Callable[[Results, str, Cell], str],
) -> list[str]:
    """Returns a Markdown table per allocator: shapes down, names across."""
    shapes = _distinct(cell.shape for cell in results)
    parts = []
    for allocator in _distinct(cell.allocator for cell in results):
        lines = [
            f"| D | N | {' | '.join(names)} |",
            "|--:|--:|" + "--:|" * len(names),
        ]
        for batch, dim in sorted(shapes, key=lambda shape: shape[::-1]):
            cells = [Cell(name, (batch, dim), allocator) for name in names]
            row = " | ".join(text(results, field, cell) for cell in cells)
            lines.append(f"| {dim} | {batch} | {row} |")
        parts += [f"### {title}, {allocator} allocator", "\n".join(lines)]
    return parts


def _figure_text(results: Results, field: str, cell: Cell) -> str:
    return _three_digits(getattr(results[cell], field)) if cell in results else ""


def _ratio_text(results: Results, field: str, cell: Cell) -> str:
    ratio = _ratio(results, field, cell)
    return f"{_three_digits(ratio)}x" if ratio else ""


def _three_digits(value: float) -> str:
    decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{min(decimals, 2)}f}"


def _ratio(results: Results, field: str, cell: Cell) -> float | None:
    """Returns a peer's measurement in units of ours, if there are both."""
    ours = _ours(results, cell)
    if cell not in results or not ours:
        return None
    # Growth that is below what can be seen must not make a ratio infinite.
    least = 1.0 if field == "peak_mib" else 0.0
    return max(getattr(results[cell], field), least) / max(getattr(ours, field), least)


def _least_ratio(results: Results) -> str:
    """Returns a sentence about the cell in which ours looks worst."""
    ratios = {cell: _ratio(results, "cpu_ms", cell) for cell in results}
    known = {cell: ratio for cell, ratio in ratios.items() if ratio}
    if not known:
        return "Nothing to compare: see the failures."
    least = min(known, key=lambda cell: known[cell])
    return (
        "Above 1x ours is faster, or smaller. The least of all ratios of CPU time is "
        f"{_three_digits(known[least])}x ({_describe(least)})."
    )


def _plot(results: Results, path: pathlib.Path) -> bool:
    """Draws time and memory against the dimension, if matplotlib is there."""
    try:
        from matplotlib import pyplot
    except ImportError:
        print("skipping the plot: pip install matplotlib")
        return False
    batches = sorted(_distinct(cell.shape[0] for cell in results))
    figure, axes = pyplot.subplots(
        2,
        len(batches),
        figsize=(1 + 3.2 * len(batches), 6.4),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    fields = (("cpu_ms", "CPU time [ms]"), ("peak_mib", "Peak memory [MiB]"))
    for row, (field, label) in zip(axes, fields, strict=True):
        row[0].set_ylabel(label)
        for axis, batch in zip(row, batches, strict=True):
            _draw(axis, results, field, batch)
    for axis, batch in zip(axes[0], batches, strict=True):
        axis.set_title(f"batch N = {batch}")
    for axis in axes[1]:
        axis.set_xlabel("dimension D")
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        lines, labels, loc="outside lower center", ncols=len(labels), frameon=False
    )
    figure.savefig(path, dpi=150)
    return True


def _draw(axis: Any, results: Results, field: str, batch: int) -> None:
    """Draws a line for each loss; its band spans the allocators."""
    for index, name in enumerate(_distinct(cell.name for cell in results)):
        spans: dict[int, list[float]] = {}
        for cell, result in results.items():
            if cell.name == name and cell.shape[0] == batch:
                spans.setdefault(cell.shape[1], []).append(getattr(result, field))
        dims = sorted(spans)
        least, most = ([pick(spans[dim]) for dim in dims] for pick in (min, max))
        color, ours = f"C{index}", name == "ours"
        axis.fill_between(dims, least, most, color=color, alpha=0.15, linewidth=0)
        axis.plot(
            dims,
            least,
            color=color,
            linewidth=2.5 if ours else 1.2,
            marker="o",
            markersize=4 if ours else 2.5,
            label=name,
            zorder=4 if ours else 3,
        )
    dims = sorted(_distinct(cell.shape[1] for cell in results))
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(dims, [str(dim) for dim in dims])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Returns every value once, in the order of its first appearance."""
    return list(dict.fromkeys(values))


if __name__ == "__main__":
    raise SystemExit(main())
