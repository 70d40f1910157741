"""Full ranking: at which place among all items a model puts the right one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tfrs_barlow.data.sequences import UserSequences
from tfrs_barlow.ids import FIRST_ITEM_ID


class RankingMetrics(NamedTuple):
    """Means over users of what is usually reported of a ranking.

    With one right item per user, the hit rate equals the recall.

    Attributes:
        hit_rate_1: The share of users whose item is first: the accuracy.
        hit_rate_10: The share of users whose item is among the first ten.
        ndcg_10: The normalized discounted cumulative gain of the first ten,
            1 / log2(1 + rank).
        mrr: The mean reciprocal rank.
    """

    hit_rate_1: float
    hit_rate_10: float
    ndcg_10: float
    mrr: float


def label_ranks(
    scores: npt.ArrayLike, labels: npt.ArrayLike, seen: UserSequences | None = None
) -> npt.NDArray[np.int64]:
    """Returns the rank of each user's label among all items.

    Items are told apart by id. An item that scores the same as the label counts as
    ranked before it, so that a collapsed model, which scores all items alike, gets the
    last rank and not the first.

    Example:
        >>> scores = np.array([[0.0, 0.0, 0.0, 0.3, 0.9, 0.3]])
        >>> (
        ...     tfrsb.evaluation.label_ranks(scores, [4]),
        ...     tfrsb.evaluation.label_ranks(scores, [3]),
        ... )
        (array([1]), array([3]))

    Args:
        scores: `[users, vocabulary size]`, finite: the score of every id. Those of
            reserved ids do not count.
        labels: `[users]`, the right item ids. A reserved id, which no model can
            predict, gets the last rank.
        seen: The items of each user that do not count either, unless they are the
            label; row by row.

    Returns:
        `[users]`, int64, 1 is best.

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
    rows = np.arange(len(labels))
    label_scores = scores[rows, labels][:, np.newaxis]
    scores[:, :FIRST_ITEM_ID] = -np.inf
    if seen is not None:
        if len(seen) != len(labels):
            raise ValueError(
                f"seen must hold the {len(labels)} users of labels, but it holds "
                f"{len(seen)}."
            )
        scores[np.repeat(rows, seen.lengths), seen.item_ids] = -np.inf
    # The label itself is not before itself.
    scores[rows, labels] = -np.inf
    ranks = 1 + (scores >= label_scores).sum(axis=1)
    return np.where(labels < FIRST_ITEM_ID, scores.shape[1] - FIRST_ITEM_ID, ranks)


def ranking_metrics(ranks: npt.ArrayLike) -> RankingMetrics:
    """Summarizes ranks.

    Example:
        >>> tfrsb.evaluation.ranking_metrics([1, 3, 100, 100]).ndcg_10
        0.375

    Args:
        ranks: `[users]`, at least one, from 1.

    Raises:
        ValueError: If `ranks` is empty.
    """
    ranks = np.asarray(ranks, dtype=np.float64)
    if ranks.size == 0:
        raise ValueError("ranks must hold at least one user.")
    return RankingMetrics(
        hit_rate_1=float(np.mean(ranks <= 1)),
        hit_rate_10=float(np.mean(ranks <= 10)),
        ndcg_10=float(np.mean(np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0))),
        mrr=float(np.mean(1 / ranks)),
    )
