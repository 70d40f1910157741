"""The committed results of the study are what the code writes today."""

from __future__ import annotations

import pathlib
import re

import pandas as pd
import pytest

from tfrs_barlow.study.__main__ import tables
from tfrs_barlow.study.rows import RowFile
from tfrs_barlow.study.run import table_of

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "study"
WITH_TABLES = sorted(file.parent.name for file in RESULTS.glob("*/rows.csv"))


def folder_of(file: pathlib.Path) -> str:
    return file.parent.name


@pytest.mark.parametrize("name", WITH_TABLES)
def test_reports_are_made_of_the_rows(name: str) -> None:
    rows = pd.read_csv(RESULTS / name / "rows.csv")
    report = (RESULTS / name / "report.md").read_text()
    assert tables(rows, "## Metrics of test users\n") == report


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*/rows.jsonl")), ids=folder_of)
def test_rows_load(file: pathlib.Path) -> None:
    rows = list(RowFile(file))
    assert len(table_of(rows)) > 0
    if (file.parent / "rows.csv").exists():
        measured = {(row["data"], row["test_accuracy"]) for row in rows}
        table = pd.read_csv(file.parent / "rows.csv")
        assert set(zip(table["data"], table["test_accuracy"], strict=True)) <= measured


def test_the_page_has_no_number_that_is_in_no_report() -> None:
    page = (ROOT / "docs" / "study.md").read_text()
    page = " ".join(re.sub(r"```.*?```", "", page, flags=re.DOTALL).split())
    reports = "".join(file.read_text() for file in RESULTS.glob("*/*.md"))
    numbers = re.findall(r"(\d+(?:\.\d+)?) ± (\d+(?:\.\d+)?)", page)
    assert len(numbers) > 40
    for mean, error in numbers:
        as_share = f"{float(mean) / 100:.3f} ± {float(error) / 100:.3f}"
        assert f"{mean} ± {error}" in reports or as_share in reports, mean
