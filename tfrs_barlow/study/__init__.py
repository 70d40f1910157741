"""The study: pretraining compared with other methods on downstream tasks."""

from tfrs_barlow.study.config import StudyConfig
from tfrs_barlow.study.folders import require_same_settings
from tfrs_barlow.study.plots import write_plots
from tfrs_barlow.study.report import (
    best_by_validation,
    gains,
    gains_markdown,
    summary,
    summary_markdown,
)
from tfrs_barlow.study.run import run_study

__all__ = [
    "StudyConfig",
    "best_by_validation",
    "gains",
    "gains_markdown",
    "require_same_settings",
    "run_study",
    "summary",
    "summary_markdown",
    "write_plots",
]
