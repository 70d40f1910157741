"""The gains of a study in which each method has the learning rate that suits it.

    python -m benchmarks.study_tuned yelp --encoder_passes=40

Reads the rows of `benchmarks/results/study/NAME` with all learning rates that there
are. For each share of labels, protocol, task and method the one counts with which the
validation users fared best; gains are those of the test users. Nothing is trained.
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
from examples.downstream_study import tables
from tfrs_barlow.evaluation import RowFile, StudyConfig
from tfrs_barlow.evaluation.downstream_tasks import TASKS
from tfrs_barlow.evaluation.study_report import PLACE

RESULTS = pathlib.Path(__file__).parent / "results" / "study"


def main() -> None:
    """Writes the report of one study."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("name")
    parser.add_argument("--encoder_passes", type=float, default=160.0)
    flags = parser.parse_args()
    config = dataclasses.replace(StudyConfig(), encoder_passes=flags.encoder_passes)
    settings = config.settings()
    del settings["learning_rate"]
    file = RowFile(RESULTS / flags.name / "rows.jsonl")
    rows = pd.DataFrame(list(file.select(settings)))
    cell = [*PLACE, "method", "seed", "learning_rate"]
    rows = rows.drop_duplicates(cell, keep="last")
    rows = rows.assign(order=rows["task"].map(TASKS.index))
    rows = rows.sort_values(["seed", "label_fraction", "order"], kind="stable")
    rates = sorted(set(rows["learning_rate"].tolist()))
    best = tfrsb.evaluation.best_by_validation(rows, "learning_rate")
    text = tables(
        best,
        f"Each method at that learning rate of {rates} which is best for the "
        "validation users; the figures are those of test users.\n",
    )
    (RESULTS / flags.name / "tuned.md").write_text(text)
    tfrsb.evaluation.write_plots(best, RESULTS / flags.name)
    print(text)


if __name__ == "__main__":
    main()
