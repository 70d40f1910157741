"""Downstream evaluation: probes, fine-tuning, full ranking, and the study."""

from tfrs_barlow.evaluation.downstream_tasks import (
    DownstreamTask,
    downstream_task,
    users_with_labels,
)
from tfrs_barlow.evaluation.embedding import embed_users
from tfrs_barlow.evaluation.fine_tuning import (
    FineTuningSettings,
    fine_tune_classifier,
    fine_tune_retrieval,
)
from tfrs_barlow.evaluation.linear_probe import (
    LabelledEmbeddings,
    ProbeFigures,
    linear_probe,
)
from tfrs_barlow.evaluation.next_item import (
    LeaveOneOut,
    NextItemValidation,
    evaluate_dual_encoder,
    next_item_figures,
)
from tfrs_barlow.evaluation.ranking import RankingFigures, label_ranks, ranking_figures
from tfrs_barlow.evaluation.staged_run import StagedRun
from tfrs_barlow.evaluation.study import run_study
from tfrs_barlow.evaluation.study_config import ENCODERS, StudyConfig
from tfrs_barlow.evaluation.study_plots import write_plots
from tfrs_barlow.evaluation.study_report import (
    best_by_validation,
    gains,
    gains_markdown,
    summary,
    summary_markdown,
)
from tfrs_barlow.evaluation.study_rows import RowFile

__all__ = [
    "ENCODERS",
    "DownstreamTask",
    "FineTuningSettings",
    "LabelledEmbeddings",
    "LeaveOneOut",
    "NextItemValidation",
    "ProbeFigures",
    "RankingFigures",
    "RowFile",
    "StagedRun",
    "StudyConfig",
    "best_by_validation",
    "downstream_task",
    "embed_users",
    "evaluate_dual_encoder",
    "fine_tune_classifier",
    "fine_tune_retrieval",
    "gains",
    "gains_markdown",
    "label_ranks",
    "linear_probe",
    "next_item_figures",
    "ranking_figures",
    "run_study",
    "summary",
    "summary_markdown",
    "users_with_labels",
    "write_plots",
]
