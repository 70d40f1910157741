"""The tables of a study: means over seeds, and gains over a baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

PLACE = ("dataset", "batch_size", "label_fraction", "protocol", "task")
"""What the seeds and methods of a comparison have in common."""

MAIN_METRIC = {
    "next_item": "hit_rate_10",
    "next_category": "accuracy",
    "favorite_category": "accuracy",
    "future_category": "accuracy",
}
"""What a task is judged by in tables. (The accuracy of the next item, its hit rate at
1, is a handful of users.)"""


def main_figures(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns one column `figure`: the main one of each row's task.

    Args:
        rows: As `run_study` returns them.

    Returns:
        The columns of `PLACE`, `method`, `seed` and `figure`.
    """
    return rows[[*PLACE, "method", "seed"]].assign(figure=_figures(rows, "test"))


def _figures(rows: pd.DataFrame, part: str) -> list[float]:
    """Returns the main figure of each row, of `"validation"` or `"test"` users."""
    records = rows.to_dict(orient="records")
    return [row[f"{part}_{MAIN_METRIC[row['task']]}"] for row in records]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns mean and standard error over seeds of every cell.

    Args:
        rows: As `run_study` returns them.

    Returns:
        One row for each place and method, with `mean`, `standard_error` (NaN for one
        seed) and `seeds`.
    """
    groups = main_figures(rows).groupby([*PLACE, "method"], sort=False)["figure"]
    return groups.agg(mean="mean", standard_error="sem", seeds="count").reset_index()


def gains(
    rows: pd.DataFrame, *, method: str, baseline: str, protocols: Sequence[str] = ()
) -> pd.DataFrame:
    """Returns by which share a method is better than a baseline.

    A gain is the ratio of means over seeds, less 1. Its standard error is that of the
    ratio, from the differences of the two in the same seed, since both see the same
    users.

    Example:
        >>> place = {"dataset": "d", "batch_size": 256, "label_fraction": 0.1}
        >>> place |= {"protocol": "frozen", "task": "next_category"}
        >>> rows = pd.DataFrame(
        ...     [
        ...         {**place, "method": method, "seed": seed, "test_accuracy": accuracy}
        ...         for method, seed, accuracy in [
        ...             ("dual_encoder", 0, 0.40),
        ...             ("barlow_twins", 0, 0.48),
        ...             ("dual_encoder", 1, 0.40),
        ...             ("barlow_twins", 1, 0.52),
        ...         ]
        ...     ]
        ... )
        >>> table = tfrsb.study.gains(
        ...     rows, method="barlow_twins", baseline="dual_encoder"
        ... )
        >>> table[["gain", "standard_error"]].round(3).to_dict("records")
        [{'gain': 0.25, 'standard_error': 0.05}]

    Args:
        rows: As `run_study` returns them.
        method: The method.
        baseline: The method it is compared with.
        protocols: The protocol of the method and that of the baseline, if not the same.

    Returns:
        One row for each place where both were measured, with `figure`, `baseline`,
        `gain`, `standard_error` and `seeds`.
    """
    figures = main_figures(rows)
    place = list(PLACE)
    ours, theirs = (figures[figures["method"] == name] for name in (method, baseline))
    if protocols:
        place.remove("protocol")
        ours = ours[ours["protocol"] == protocols[0]]
        theirs = theirs[theirs["protocol"] == protocols[1]]
    pairs = ours.merge(theirs, on=[*place, "seed"], suffixes=("", "_baseline"))
    table = []
    for values, group in pairs.groupby(place, sort=False):
        figure, base = group["figure"].mean(), group["figure_baseline"].mean()
        ratio = figure / base if base else math.nan
        residuals = group["figure"] - ratio * group["figure_baseline"]
        error = residuals.std(ddof=1) / np.sqrt(len(group)) / base if base else math.nan
        table.append(
            {
                **dict(zip(place, values, strict=True)),
                "figure": figure,
                "baseline": base,
                "gain": ratio - 1,
                "standard_error": error,
                "seeds": len(group),
            }
        )
    return pd.DataFrame(table)


def best_by_validation(rows: pd.DataFrame, setting: str) -> pd.DataFrame:
    """Returns for each place and method the rows of the best value of a setting.

    So each method is compared where it is as good as it gets. The best value is the one
    with the highest mean figure of validation users, among those with the most seeds.

    Example:
        >>> place = {"dataset": "d", "batch_size": 256, "label_fraction": 0.1}
        >>> place |= {"protocol": "frozen", "task": "next_category", "method": "random"}
        >>> rows = pd.DataFrame(
        ...     [
        ...         {**place, "seed": 0, "learning_rate": rate, **figures}
        ...         for rate, figures in {
        ...             0.001: {"validation_accuracy": 0.3, "test_accuracy": 0.5},
        ...             0.003: {"validation_accuracy": 0.4, "test_accuracy": 0.4},
        ...         }.items()
        ...     ]
        ... )
        >>> best = tfrsb.study.best_by_validation(rows, "learning_rate")
        >>> best["test_accuracy"].tolist()
        [0.4]

    Args:
        rows: Such as `run_study` returns, of several values of the setting.
        setting: The name of its column.

    Returns:
        The rows that are left, in their order. A setting that is part of the place, as
        the batch size is, is `"best"` in all of them: else tables would not set methods
        of different values side by side.
    """
    cell = [name for name in (*PLACE, "method") if name != setting]
    groups = rows.assign(figure=_figures(rows, "validation")).groupby([*cell, setting])[
        "figure"
    ]
    table = groups.agg(["count", "mean"]).reset_index()
    table = table.sort_values(["count", "mean"], kind="stable")
    best = table.drop_duplicates(cell, keep="last")[[*cell, setting]]
    chosen = rows.merge(best, on=[*cell, setting])
    return chosen.assign(**{setting: "best"}) if setting in PLACE else chosen


def summary_markdown(rows: pd.DataFrame) -> str:
    """Returns the summary as Markdown: a table for each data set and batch size."""
    parts = []
    table = summary(rows)
    for (dataset, batch_size), part in table.groupby(
        ["dataset", "batch_size"], sort=False
    ):
        part = part.assign(
            cell=with_errors(part["mean"], part["standard_error"], "{:.3f}")
        )
        wide = part.pivot_table(
            index=["label_fraction", "protocol", "method"],
            columns="task",
            values="cell",
            aggfunc="first",
            sort=False,
        ).fillna("")
        seeds = part["seeds"].max()
        parts.append(f"### {dataset}, batch size {batch_size}, {seeds} seeds\n")
        parts.append(markdown_table(wide.reset_index()))
    return "\n".join(parts)


def gains_markdown(table: pd.DataFrame) -> str:
    """Returns gains as Markdown: a table for each data set and batch size."""
    parts = []
    for (dataset, batch_size), part in table.groupby(
        ["dataset", "batch_size"], sort=False
    ):
        part = part.assign(
            cell=with_errors(
                100 * part["gain"], 100 * part["standard_error"], "{:+.0f}"
            )
        )
        index = [name for name in ("label_fraction", "protocol") if name in part]
        wide = part.pivot_table(
            index=index, columns="task", values="cell", aggfunc="first", sort=False
        ).fillna("")
        parts.append(f"### {dataset}, batch size {batch_size}, per cent\n")
        parts.append(markdown_table(wide.reset_index()))
    return "\n".join(parts)


def with_errors(values: pd.Series, errors: pd.Series, form: str) -> list[str]:
    """Writes means, where they are known, with their standard errors."""
    return [
        "" if math.isnan(value) else _with_error(value, error, form)
        for value, error in zip(values, errors, strict=True)
    ]


def _with_error(value: float, error: float, form: str) -> str:
    if math.isnan(error):
        return form.format(value)
    return f"{form.format(value)} ± {form.replace('+', '').format(error)}"


def markdown_table(table: pd.DataFrame) -> str:
    """Returns a table as Markdown: names and text, and floats as shares in per cent."""
    lines = [
        [str(name).replace("_", " ") for name in table.columns],
        ["---"] * len(table.columns),
        *([_text(value) for value in row] for row in table.itertuples(index=False)),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def per_cent(share: float) -> str:
    """Writes a share with as many digits as it has."""
    return f"{100 * share:g}%"


def _text(value: float | str) -> str:
    """Writes a label fraction, or a name or figure as it is."""
    return value.replace("_", " ") if isinstance(value, str) else per_cent(value)
