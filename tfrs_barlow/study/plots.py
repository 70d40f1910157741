"""The plots of a study."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from tfrs_barlow.study.config import METHODS
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
        >>> row = {"dataset": "d", "seed": 0, "protocol": "frozen", "method": "random"}
        >>> row |= {"label_fraction": 0.1, "task": "next_category"}
        >>> rows = pd.DataFrame(
        ...     [{**row, "batch_size": n, "test_accuracy": 0.3} for n in (32, 64)]
        ... )
        >>> [file.name for file in tfrsb.study.write_plots(rows, tempfile.mkdtemp())]
        ['metrics_by_batch_size.png']
    """
    directory = pathlib.Path(directory)
    written = []
    table = gains(rows, method="barlow_twins", baseline="dual_encoder")
    if len(table) and table["label_fraction"].nunique() > 1:
        written.append(_gains(table, directory / "gain_by_label_fraction.png"))
    if rows.loc[rows["protocol"] == "frozen", "batch_size"].nunique() > 1:
        written.append(_batch_sizes(rows, directory / "metrics_by_batch_size.png"))
    if "curve" in rows and (rows["protocol"] == "fine_tuned").any():
        written.append(_curves(rows, directory / "learning_curves.png"))
    return written


def _gains(table: pd.DataFrame, file: pathlib.Path) -> pathlib.Path:
    axes = _panels(table["task"].unique())
    for task, panel in axes.items():
        for protocol, part in table[table["task"] == task].groupby("protocol"):
            part = part.sort_values("label_fraction")
            panel.errorbar(
                part["label_fraction"],
                100 * part["gain"],
                yerr=100 * part["standard_error"].fillna(0),
                marker="o",
                label=_words(protocol),
            )
        panel.axhline(0, color="grey", linewidth=1)
        panel.set(xscale="log", xlabel="labels", ylabel="gain, %")
        _ticks(panel, table["label_fraction"], per_cent)
    return _finish(axes, file)


def _batch_sizes(rows: pd.DataFrame, file: pathlib.Path) -> pathlib.Path:
    table = summary(rows[rows["protocol"] == "frozen"])
    axes = _panels(table["task"].unique())
    for task, panel in axes.items():
        for method, part in table[table["task"] == task].groupby("method"):
            part = part.sort_values("batch_size")
            panel.errorbar(
                part["batch_size"],
                part["mean"],
                yerr=part["standard_error"].fillna(0),
                marker="o",
                color=_color(method),
                label=_words(method),
            )
        metric = _words(MAIN_METRIC[task])
        panel.set(xscale="log", xlabel="batch size", ylabel=f"{metric}, test users")
        _ticks(panel, table["batch_size"], str)
    return _finish(axes, file)


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


def _ticks(panel: Axes, values: pd.Series, write: Callable[[Any], str]) -> None:
    ticks = sorted(values.unique())
    panel.set_xticks(ticks, labels=[write(tick) for tick in ticks])
    panel.minorticks_off()


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


def _color(method: Any) -> str:
    """Returns the color of a method, the same in every panel and plot."""
    return f"C{METHODS.index(method)}"


def _words(name: Any) -> str:
    return str(name).replace("_", " ")
