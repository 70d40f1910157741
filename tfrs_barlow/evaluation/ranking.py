"""Full ranking: at which place among all items a model puts the right one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tfrs_barlow import _checks
from tfrs_barlow.data import UserSequences
from tfrs_barlow.evaluation.downstream_tasks import DownstreamTask
from tfrs_barlow.evaluation.embedding import embed_users
from tfrs_barlow.ids import FIRST_ITEM_ID
from tfrs_barlow.metrics import item_scores
from tfrs_barlow.models import DualEncoder


class RankingMetrics(NamedTuple):
    """Means over users of the usual ranking metrics.

    With one right item per user, the hit rate equals the recall.

    Attributes:
        hit_rate_1: The share of users whose item is first: the accuracy.
        hit_rate_10: The share of users whose item is among the first ten.
        ndcg_10: The normalized discounted cumulative gain of the first ten,
            1 / log2(1 + rank).
        mrr: The mean reciprocal rank.

    Examples:
        >>> metrics = tfrsb.evaluation.RankingMetrics(0.1, 0.4, 0.25, 0.2)
        >>> metrics.hit_rate_10
        0.4
    """

    hit_rate_1: float
    hit_rate_10: float
    ndcg_10: float
    mrr: float


def label_ranks(
    scores: npt.ArrayLike, labels: npt.ArrayLike, seen: UserSequences | None = None
) -> npt.NDArray[np.float32]:
    """Returns the rank of each user's label among all items: 1 is best.

    The rule is that of `tfrsb.metrics`. An item that scores the same as the label
    counts as ranked before it, so a collapsed model, which scores all items alike, gets
    the last rank and not the first. An unknown label (a reserved id, or one without a
    column) is a miss: its rank is infinite.

    Args:
        scores: `[users, vocabulary size]`, finite. Those of reserved ids do not count.
        labels: `[users]`, the right item ids.
        seen: The items of each user that do not count either, unless they are the
            label.

    Raises:
        ValueError: If the shapes do not fit together or a score is not finite.
    """
    scores = np.array(scores, dtype=np.float64)
    labels = np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            "scores must have the shape [users, vocabulary size] and labels [users], "
            f"but they are {scores.shape} and {labels.shape}."
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite, but there is a NaN or an infinity.")
    if seen is not None:
        if len(seen) != len(labels):
            raise ValueError(
                f"seen must hold the {len(labels)} users of labels, but it holds "
                f"{len(seen)}."
            )
        if seen.item_ids.max(initial=0) >= scores.shape[1]:
            raise ValueError(
                f"scores must have a column for each item, but they have "
                f"{scores.shape[1]} and a user has seen {seen.item_ids.max()}."
            )
        rows = np.repeat(np.arange(len(labels)), seen.lengths)
        others = seen.item_ids != labels[rows]
        scores[rows[others], seen.item_ids[others]] = -np.inf
    return item_scores.label_ranks(labels, scores, FIRST_ITEM_ID).numpy()


def ranking_metrics(ranks: npt.ArrayLike) -> RankingMetrics:
    """Returns the metrics of the ranks `[users]`, of at least one user."""
    ranks = np.asarray(ranks, dtype=np.float64)
    if ranks.size == 0:
        raise ValueError("ranks must hold at least one user.")
    return RankingMetrics(
        hit_rate_1=float(np.mean(ranks <= 1)),
        hit_rate_10=float(np.mean(ranks <= 10)),
        ndcg_10=float(np.mean(np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0))),
        mrr=float(np.mean(1 / ranks)),
    )


def next_item_metrics(scores: npt.ArrayLike, task: DownstreamTask) -> RankingMetrics:
    """Ranks all items by `[users, vocabulary size]` scores; seen items do not count."""
    return ranking_metrics(label_ranks(scores, task.labels, seen=task.histories))


def evaluate_dual_encoder(
    model: DualEncoder, task: DownstreamTask, *, vocabulary_size: int, length: int
) -> RankingMetrics:
    """Ranks all items for every user by a dual encoder; seen items do not count.

    Args:
        model: The trained towers.
        task: The next items to find, and the histories before them: the task
            `"next_item"` of `downstream_task`.
        vocabulary_size: The number of ids, reserved ones included.
        length: How many items of a history to read.

    Returns:
        The metrics. An unknown label is a miss.

    Raises:
        TypeError, ValueError: If a number is not an integer of at least 1, or `task`
            has no user or items beyond the vocabulary.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> model = tfrsb.models.DualEncoder(
        ...     tfrsb.layers.ItemPoolingEncoder(vocabulary.size, output_dim=8),
        ...     tf.keras.layers.Embedding(vocabulary.size, 8),
        ... )
        >>> metrics = tfrsb.evaluation.evaluate_dual_encoder(
        ...     model,
        ...     tfrsb.evaluation.downstream_task("next_item", sequences),
        ...     vocabulary_size=vocabulary.size,
        ...     length=10,
        ... )
        >>> 0 <= metrics.hit_rate_10 <= 1
        True
    """
    _checks.instance("model", model, DualEncoder)
    _checks.instance("task", task, DownstreamTask)
    size = _checks.integer("vocabulary_size", vocabulary_size, at_least=1)
    queries = embed_users(model.query_tower, task.histories, length=length)
    candidates = model.candidate_embeddings(size).numpy()
    return next_item_metrics(queries @ candidates.T, task)
