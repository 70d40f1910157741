"""Downstream evaluation: probes, fine-tuning, full ranking."""

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
from tfrs_barlow.evaluation.probe import LabeledEmbeddings, ProbeMetrics, linear_probe
from tfrs_barlow.evaluation.ranking import RankingMetrics, evaluate_dual_encoder

__all__ = [
    "DownstreamTask",
    "FineTuningSettings",
    "LabeledEmbeddings",
    "ProbeMetrics",
    "RankingMetrics",
    "downstream_task",
    "embed_users",
    "evaluate_dual_encoder",
    "fine_tune_classifier",
    "fine_tune_retrieval",
    "linear_probe",
    "users_with_labels",
]
