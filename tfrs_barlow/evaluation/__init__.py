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
from tfrs_barlow.evaluation.linear_probe import (
    LabeledEmbeddings,
    ProbeMetrics,
    linear_probe,
)
from tfrs_barlow.evaluation.next_item import (
    LeaveOneOut,
    NextItemValidation,
    evaluate_dual_encoder,
    next_item_metrics,
)
from tfrs_barlow.evaluation.ranking import RankingMetrics, label_ranks, ranking_metrics

__all__ = [
    "DownstreamTask",
    "FineTuningSettings",
    "LabeledEmbeddings",
    "LeaveOneOut",
    "NextItemValidation",
    "ProbeMetrics",
    "RankingMetrics",
    "downstream_task",
    "embed_users",
    "evaluate_dual_encoder",
    "fine_tune_classifier",
    "fine_tune_retrieval",
    "label_ranks",
    "linear_probe",
    "next_item_metrics",
    "ranking_metrics",
    "users_with_labels",
]
