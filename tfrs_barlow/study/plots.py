"""The plots of a study."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from tfrs_barlow import _checks
from tfrs_barlow.study.config import METHODS, PROTOCOLS
from tfrs_barlow.study.report import MAIN_METRIC, gains, per_cent, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_plots(
    rows: pd.DataFrame, directory: str | os.PathLike[str]
) -> list[pathlib.Path]:
    """Draws the plots that the rows are enough for.

    - `gain_by_label_fraction.png`: the gain of Barlow Twins over a dual encoder on all
      training users, for each task and protocol, if there are several fractions;
    - `metrics_by_batch_size.png`: each method, frozen, against the batch size, if there
      are several;
    - `learning_curves.png`: fine-tuning from each start, the best so far by the
      validation users, for the batch size with the most starts.

    Args:
        rows: What `run_study` returns.
        directory: Where to write; it must exist.

    Returns:
        The files written.

    Examples:
        >>> import tempfile
        >>> place = {"dataset": "d", "label_fraction": 0.1, "protocol": "frozen"}
        >>> place |= {"task": "next_category", "method": "random", "seed": 0}
        >>> table = {"batch_size": [32, 64], "test_accuracy": [0.3, 0.4]}
        >>> rows = pd.DataFrame(table).assign(**place)
        >>> [file.name for file in tfrsb.study.write_plots(rows, tempfile.mkdtemp())]
        ['metrics_by_batch_size.png']
    """
    directory = _checks.path("directory", directory)
    written = []
    table = gains(rows, method="barlow_twins", baseline="dual_encoder")
    if len(table) and table["label_fraction"].nunique() > 1:
        in_per_cent = table.assign(
            mean=100 * table["gain"], standard_error=100 * table["standard_error"]
        )
        axes = _lines(in_per_cent, "label_fraction", by="protocol", write=per_cent)
        for panel in axes.values():
            panel.axhline(0, color="grey", linewidth=1)
            panel.set_ylabel("gain, %")
        written.append(_finish(axes, directory / "gain_by_label_fraction.png"))
    frozen = rows[rows["protocol"] == "frozen"]
    if frozen["batch_size"].nunique() > 1:
        axes = _lines(summary(frozen), "batch_size", by="method", write=str)
        for task, panel in axes.items():
            panel.set_ylabel(f"{_words(MAIN_METRIC[task])}, test users")
        written.append(_finish(axes, directory / "metrics_by_batch_size.png"))
    if "curve" in rows and (rows["protocol"] == "fine_tuned").any():
        written.append(_curves(rows, directory / "learning_curves.png"))
    return written


def _lines(
    table: pd.DataFrame, x: str, *, by: str, write: Callable[[Any], str]
) -> dict[str, Axes]:
    """Draws `mean` and `standard_error` against a column, one line for each `by`."""
    axes = _panels(table["task"].unique())
    ticks = sorted(table[x].unique())
    for task, panel in axes.items():
        for name, part in table[table["task"] == task].groupby(by):
            part = part.sort_values(x)
            panel.errorbar(
                part[x],
                part["mean"],
                yerr=part["standard_error"].fillna(0),
                marker="o",
                color=_color(name),
                label=_words(name),
            )
        panel.set(xscale="log", xlabel=_words(x))
        panel.set_xticks(ticks, labels=[write(tick) for tick in ticks])
        panel.minorticks_off()
    return axes


def _curves(rows: pd.DataFrame, file: pathlib.Path) -> pathlib.Path:
    tuned = rows[rows["protocol"] == "fine_tuned"]
    # One batch size and share of labels is enough: those with the most starts.
    for place in ("batch_size", "label_fraction"):
        most = tuned.groupby(place)["method"].nunique().idxmax()
        tuned = tuned[tuned[place] == most]
    fraction = tuned["label_fraction"].iloc[0]
    axes = _panels(tuned["task"].unique())
    for task, panel in axes.items():
        for method, part in tuned[tuned["task"] == task].groupby("method"):
            # A seed that has stopped keeps its best step, or the mean would jump.
            curves = pd.DataFrame(part["curve"].tolist()).cummax(axis=1).ffill(axis=1)
            panel.plot(
                curves.mean().to_numpy(), color=_color(method), label=_words(method)
            )
        panel.set(
            xlabel=f"evaluations, {per_cent(fraction)} of labels",
            ylabel="best so far, validation users",
        )
    return _finish(axes, file)


def _panels(tasks: Any) -> dict[str, Axes]:
    """Makes a sheet with one titled panel for each task."""
    from matplotlib import figure

    columns = min(2, len(tasks))
    sheet = figure.Figure(
        figsize=(5 * columns, 3.5 * math.ceil(len(tasks) / columns)),
        layout="constrained",
    )
    axes = sheet.subplots(math.ceil(len(tasks) / columns), columns, squeeze=False)
    panels = dict(zip(tasks, axes.flat, strict=False))
    for task, panel in panels.items():
        panel.set_title(_words(task))
    for unused in axes.flat[len(tasks) :]:
        unused.set_visible(False)
    return panels


def _finish(axes: dict[str, Axes], file: pathlib.Path) -> pathlib.Path:
    # Not every line is in every panel, so one legend shows the lines of all.
    lines: dict[str, Any] = {}
    for panel in axes.values():
        handles, labels = panel.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    sheet = next(iter(axes.values())).get_figure(root=True)
    assert sheet is not None
    sheet.legend(
        list(lines.values()), list(lines), loc="outside lower center", ncols=len(lines)
    )
    sheet.savefig(file, dpi=120)
    return file


def _color(name: Any) -> str:
    """Returns the color of a method or protocol, the same in every panel and plot."""
    names = METHODS if name in METHODS else PROTOCOLS
    return f"C{names.index(name)}"


def _words(name: Any) -> str:
    return str(name).replace("_", " ")
