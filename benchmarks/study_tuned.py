"""The gains of a study with each method at its best value of a setting.

    python -m benchmarks.study_tuned yelp --encoder_passes=40
    python -m benchmarks.study_tuned batch_size --encoder_passes=80 --setting=batch_size

Reads the rows of `benchmarks/results/study/NAME` for all learning rates (or batch
sizes). For each share of labels, protocol, task and method, the validation users choose
the best one. Gains are those of the test users. Nothing is trained.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd

import tfrs_barlow as tfrsb
from tfrs_barlow.evaluation.downstream_tasks import TASKS
from tfrs_barlow.study import StudyConfig
from tfrs_barlow.study.__main__ import tables
from tfrs_barlow.study.config import METHODS, PROTOCOLS
from tfrs_barlow.study.report import PLACE
from tfrs_barlow.study.rows import RowFile

ORDERS = {"task": TASKS, "method": METHODS, "protocol": PROTOCOLS}
RESULTS = pathlib.Path(__file__).parent / "results" / "study"


def main() -> None:
    """Writes the report of one study."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("name")
    parser.add_argument("--encoder_passes", type=float, default=160.0)
    parser.add_argument(
        "--setting", choices=["learning_rate", "batch_size"], default="learning_rate"
    )
    flags = parser.parse_args()
    config = dataclasses.replace(StudyConfig(), encoder_passes=flags.encoder_passes)
    settings = config.settings()
    settings.pop(flags.setting, None)
    file = RowFile(RESULTS / flags.name / "rows.jsonl")
    rows = pd.DataFrame(list(file.select(settings)))
    cell = {*PLACE, "method", "seed", flags.setting}
    rows = rows.drop_duplicates(sorted(cell), keep="last")
    order = {name: order.index for name, order in ORDERS.items()}
    rows = rows.sort_values(
        ["seed", "label_fraction", *order],
        key=lambda column: column.map(order.get(column.name, float)),
    )
    values = sorted(set(rows[flags.setting].tolist()))
    best = tfrsb.study.best_by_validation(rows, flags.setting)
    text = tables(
        best,
        f"Each method at the {flags.setting.replace('_', ' ')}, one of {values}, that "
        "is best for the validation users; the metrics are those of test users.\n",
    )
    (RESULTS / flags.name / "tuned.md").write_text(text)
    if flags.setting == "learning_rate":
        tfrsb.study.write_plots(best, RESULTS / flags.name)
    print(text)


if __name__ == "__main__":
    main()
