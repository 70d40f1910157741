"""The tables of a study: means over seeds, and gains over a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from tfrs_barlow import _checks
from tfrs_barlow.study.config import METHODS, Method

PLACE = ("dataset", "batch_size", "label_fraction", "protocol", "task")
"""What the seeds and methods of a comparison have in common."""

MAIN_METRIC = {
    "next_item": "hit_rate_10",
    "next_category": "accuracy",
    "favorite_category": "accuracy",
    "future_category": "accuracy",
}
"""What a task is judged by in tables. (The hit rate at 1 of the next item is a handful
of users.)"""


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns mean and standard error over seeds of every cell.

    Each task has one metric: the hit rate at 10 of the next item, else the accuracy.

    Args:
        rows: What `run_study` returns.

    Returns:
        One row for each place and method, with `mean`, `standard_error` (NaN for one
        seed) and `seeds`.

    Examples:
        >>> place = {"dataset": "d", "batch_size": 256, "label_fraction": 0.1}
        >>> place |= {"protocol": "frozen", "task": "next_category"}
        >>> rows = pd.DataFrame({"seed": [0, 1], "test_accuracy": [0.3, 0.4]})
        >>> rows = rows.assign(method="joint", **place)
        >>> tfrsb.study.summary(rows)["mean"].round(2).tolist()
        [0.35]
    """
    groups = main_metrics(rows).groupby([*PLACE, "method"], sort=False)["value"]
    return groups.agg(mean="mean", standard_error="sem", seeds="count").reset_index()


def gains(rows: pd.DataFrame, *, method: Method, baseline: Method) -> pd.DataFrame:
    """Returns by which share a method is better than a baseline.

    A gain is the ratio of means over seeds, less 1. Its standard error is that of the
    ratio. It comes from the differences between the two in the same seed, since both
    see the same users.

    Args:
        rows: What `run_study` returns.
        method: The method.
        baseline: The method it is compared with.

    Returns:
        One row for each place where both were measured, with `value`, `baseline`,
        `gain`, `standard_error` and `seeds`.

    Raises:
        TypeError, ValueError: If `method` or `baseline` is not a method of the study.

    Examples:
        >>> place = {"dataset": "d", "batch_size": 256, "label_fraction": 0.1}
        >>> place |= {"protocol": "frozen", "task": "next_category", "seed": 0}
        >>> table = {"method": ["random", "joint"], "test_accuracy": [0.4, 0.5]}
        >>> rows = pd.DataFrame(table).assign(**place)
        >>> tfrsb.study.gains(rows, method="joint", baseline="random")["gain"].tolist()
        [0.25]
    """
    _checks.one_of("method", method, METHODS)
    _checks.one_of("baseline", baseline, METHODS)
    values = main_metrics(rows)
    ours, theirs = (values[values["method"] == name] for name in (method, baseline))
    pairs = ours.merge(theirs, on=[*PLACE, "seed"], suffixes=("", "_baseline"))
    return pd.DataFrame(
        [
            {**dict(zip(PLACE, place, strict=True)), **_gain(group)}
            for place, group in pairs.groupby(list(PLACE), sort=False)
        ]
    )


def best_by_validation(rows: pd.DataFrame, setting: str) -> pd.DataFrame:
    """Returns for each place and method the rows of the best value of a setting.

    So each method is compared at its best. The best value is the one with the highest
    mean metric of validation users, among the values with the most seeds.

    Args:
        rows: What `run_study` returns, for several values of the setting.
        setting: The name of its column.

    Returns:
        The rows that are left, in their order. A setting that is part of the place,
        such as the batch size, is `"best"` in all of them. Otherwise tables would not
        compare methods of different values.

    Raises:
        TypeError, ValueError: If `setting` is not a column.

    Examples:
        >>> place = {"dataset": "d", "batch_size": 256, "label_fraction": 0.1}
        >>> place |= {"protocol": "frozen", "task": "next_category", "seed": 0}
        >>> table = {"learning_rate": [0.001, 0.003], "test_accuracy": [0.5, 0.4]}
        >>> rows = pd.DataFrame(table).assign(validation_accuracy=[0.3, 0.4])
        >>> rows = rows.assign(method="joint", **place)
        >>> best = tfrsb.study.best_by_validation(rows, "learning_rate")
        >>> best["test_accuracy"].tolist()
        [0.4]
    """
    _checks.text("setting", setting)
    if setting not in rows:
        raise ValueError(f"setting must be a column of rows, but it is {setting!r}.")
    cell = [name for name in (*PLACE, "method") if name != setting]
    values = rows.assign(value=_values(rows, "validation"))
    means = values.groupby([*cell, setting])["value"].agg(["count", "mean"])
    means = means.reset_index().sort_values(["count", "mean"], kind="stable")
    best = means.drop_duplicates(cell, keep="last")[[*cell, setting]]
    chosen = rows.merge(best, on=[*cell, setting])
    return chosen.assign(**{setting: "best"}) if setting in PLACE else chosen


def main_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the columns of `PLACE`, `method`, `seed`, and the metric as `value`."""
    return rows[[*PLACE, "method", "seed"]].assign(value=_values(rows, "test"))


def _values(rows: pd.DataFrame, part: str) -> list[float]:
    """Returns each row's metric of `"validation"` or `"test"` users."""
    records = rows.to_dict(orient="records")
    return [row[f"{part}_{MAIN_METRIC[row['task']]}"] for row in records]


def _gain(pairs: pd.DataFrame) -> dict[str, float]:
    """Returns the gain of `value` over `value_baseline`, paired by seed."""
    value, base = pairs["value"].mean(), pairs["value_baseline"].mean()
    ratio = value / base if base else math.nan
    residuals = pairs["value"] - ratio * pairs["value_baseline"]
    error = residuals.std(ddof=1) / np.sqrt(len(pairs)) / base if base else math.nan
    return {
        "value": value,
        "baseline": base,
        "gain": ratio - 1,
        "standard_error": error,
        "seeds": len(pairs),
    }


def summary_markdown(rows: pd.DataFrame) -> str:
    """Returns the summary as Markdown: a table for each data set and batch size.

    Args:
        rows: What `run_study` returns.

    Examples:
        >>> row = {"dataset": "d", "batch_size": 256, "label_fraction": 0.1, "seed": 0}
        >>> row |= {"protocol": "frozen", "method": "joint", "task": "next_category"}
        >>> rows = pd.DataFrame([{**row, "test_accuracy": 0.3}])
        >>> print(tfrsb.study.summary_markdown(rows))
        ### d, batch size 256, 1 seed
        <BLANKLINE>
        | label fraction | protocol | method | next category |
        | --- | --- | --- | --- |
        | 10% | frozen | joint | 0.300 |
        <BLANKLINE>
    """
    table = summary(rows)
    cells = with_errors(table["mean"], table["standard_error"], "{:.3f}")
    parts = []
    for title, part in _by_dataset(table.assign(cell=cells)):
        seeds = part["seeds"].max()
        title += f", {seeds} seed{'s' if seeds > 1 else ''}"
        parts.append(_wide(title, part, ["label_fraction", "protocol", "method"]))
    return "\n".join(parts)


def gains_markdown(table: pd.DataFrame) -> str:
    """Returns gains as Markdown: a table for each data set and batch size, in per cent.

    Args:
        table: What `gains` returns.

    Examples:
        >>> row = {"dataset": "d", "batch_size": 256, "label_fraction": 0.1}
        >>> row |= {"task": "next_category", "gain": 0.25, "standard_error": 0.05}
        >>> print(tfrsb.study.gains_markdown(pd.DataFrame([row])))
        ### d, batch size 256, per cent
        <BLANKLINE>
        | label fraction | next category |
        | --- | --- |
        | 10% | +25 ± 5 |
        <BLANKLINE>
    """
    cells = with_errors(100 * table["gain"], 100 * table["standard_error"], "{:+.0f}")
    index = [name for name in ("label_fraction", "protocol") if name in table]
    return "\n".join(
        _wide(f"{title}, per cent", part, index)
        for title, part in _by_dataset(table.assign(cell=cells))
    )


def _by_dataset(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields the title and the rows of each data set and batch size."""
    for (dataset, batch_size), part in table.groupby(
        ["dataset", "batch_size"], sort=False
    ):
        yield f"### {dataset}, batch size {batch_size}", part


def _wide(title: str, part: pd.DataFrame, index: list[str]) -> str:
    """Returns a title and a table with one column for each task."""
    wide = part.pivot_table(
        index=index, columns="task", values="cell", aggfunc="first", sort=False
    ).fillna("")
    return f"{title}\n\n{markdown_table(wide.reset_index())}"


def with_errors(values: pd.Series, errors: pd.Series, form: str) -> list[str]:
    """Writes means with their standard errors, as far as they are known."""
    return [
        "" if math.isnan(value) else _with_error(value, error, form)
        for value, error in zip(values, errors, strict=True)
    ]


def _with_error(value: float, error: float, form: str) -> str:
    if math.isnan(error):
        return form.format(value)
    return f"{form.format(value)} ± {form.replace('+', '').format(error)}"


def markdown_table(table: pd.DataFrame) -> str:
    """Returns a table as Markdown: floats are shares, in per cent."""
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
    """Writes a share in per cent, and text as it is."""
    return value.replace("_", " ") if isinstance(value, str) else per_cent(value)
