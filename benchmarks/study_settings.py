"""How the study's defaults were chosen: settings of both sides, on validation users.

    python -m benchmarks.study_settings --data_dir=path/to/ml-1m

Changes settings of `StudyConfig`, trains an encoder on MovieLens-1M by Barlow Twins or
as a dual encoder on all next items, and judges it with a tenth of the labels:
categories by a probe of the frozen encoder, the next item after fine-tuning. First, one
setting at a time is changed at a learning rate of 0.001. Then a few are changed at the
best learning rate, which is the default now.

The metrics are those of validation users, because settings must not be chosen on test
users. Rows go to `rows.jsonl`; if a run is stopped, the same command resumes it.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd

import tfrs_barlow as tfrsb
from tfrs_barlow.data import InteractionLog
from tfrs_barlow.study import StudyConfig
from tfrs_barlow.study.config import Method
from tfrs_barlow.study.report import MAIN_METRIC, markdown_table, with_errors

RESULTS = pathlib.Path(__file__).parent / "results" / "study" / "settings"

AT_FIRST = {"learning_rate": 1e-3}
BEST = {"learning_rate": 3e-3}

BOTH: dict[str, dict[str, Any]] = {
    "learning rate 0.001": {},
    "learning rate 0.0003": {"learning_rate": 3e-4},
    "learning rate 0.003": BEST,
    "learning rate 0.01": {"learning_rate": 1e-2},
    "mean pooling": {"encoder": "mean_pooling"},
    "convolution": {"encoder": "convolution"},
}
FINE_TUNING: dict[str, dict[str, Any]] = {
    f"fine-tuning at {rate:g}": {**BEST, "fine_tuning_learning_rate": rate}
    for rate in (3e-4, 1e-3, 3e-3, 1e-2)
}
VARIANTS: dict[Method, dict[str, dict[str, Any]]] = {
    "barlow_twins": {
        **BOTH,
        "drop 0.3": {"drop_rate": 0.3},
        "drop 0.7": {"drop_rate": 0.7},
        "crop 0.6, mask 0.3": {"drop_rate": 0.0, "crop_rate": 0.6, "mask_rate": 0.3},
        "mask 0.5": {"drop_rate": 0.0, "mask_rate": 0.5},
        "lambda 0.005": {"off_diagonal_weight": 0.005},
        "lambda 0.02": {"off_diagonal_weight": 0.02},
        "lambda 0.4": {"off_diagonal_weight": 0.4},
        "projector 3 x 128": {"projector": (128, 128, 128)},
        "different periods": {"pairs": "different_periods"},
        "same target": {"pairs": "same_target"},
        "learning rate 0.003, drop 0.7": {**BEST, "drop_rate": 0.7},
    },
    "dual_encoder": {
        **BOTH,
        "temperature 0.2": {"temperature": 0.2},
        "temperature 0.5": {"temperature": 0.5},
        "temperature 2": {"temperature": 2.0},
        "temperature 5": {"temperature": 5.0},
        "learning rate 0.003, temperature 0.5": {**BEST, "temperature": 0.5},
    },
    "random": FINE_TUNING,
}
"""By method, what differs from `AT_FIRST` and the defaults, by a name for the table."""

TASKS = {
    "next_category": "frozen",
    "favorite_category": "frozen",
    "future_category": "frozen",
    "next_item": "fine_tuned",
}
"""The tasks, and how each is judged."""


def measure(
    log: InteractionLog,
    method: Method,
    settings: dict[str, Any],
    seeds: tuple[int, ...],
    output_dir: pathlib.Path,
) -> dict[str, str]:
    """Returns the metric of each task: the mean over seeds, and its standard error."""
    metrics = {}
    for task, protocol in TASKS.items():
        config = dataclasses.replace(
            StudyConfig(),
            methods=(method,),
            tasks=(task,),
            protocols=(protocol,),
            label_fractions=(0.1,),
            seeds=seeds,
            **{**AT_FIRST, **settings},
        )
        rows = tfrsb.study.run_study(
            log, config, output_dir, dataset="ml-1m", verbose=False
        )
        metrics[task] = rows[f"validation_{MAIN_METRIC[task]}"]
    table = pd.DataFrame(metrics)
    cells = with_errors(table.mean(), table.sem(), "{:.3f}")
    return dict(zip(metrics, cells, strict=True))


def main() -> None:
    """Measures what has not been measured yet, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data_dir", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--output_dir", type=pathlib.Path, default=RESULTS)
    flags = parser.parse_args()
    log = tfrsb.data.load_movielens("ml-1m", flags.data_dir)
    seeds = tuple(flags.seeds)
    report = (
        f"MovieLens-1M, 10 % of labels, validation users, seeds {flags.seeds}. "
        "Settings of each method are changed, at a learning rate of 0.001 unless "
        "another one is named.\n"
    )
    for method, variants in VARIANTS.items():
        table = []
        for name, settings in variants.items():
            cells = measure(log, method, settings, seeds, flags.output_dir)
            table.append({"settings": name, **cells})
            print(method, name, cells, flush=True)
        report += f"\n## {method}\n\n{markdown_table(pd.DataFrame(table))}"
    (flags.output_dir / "report.md").write_text(report)


if __name__ == "__main__":
    main()
