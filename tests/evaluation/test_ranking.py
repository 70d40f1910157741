"""Full ranking by id: worked out by hand, and safe from collapse."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_barlow.data import FIRST_ITEM_ID, UserSequences
from tfrs_barlow.evaluation.ranking import label_ranks, ranking_metrics
from tfrs_barlow.metrics import MRR, NDCG, HitRate

MISS = float("inf")


def seen(*rows: list[int]) -> UserSequences:
    return UserSequences.from_lists(dict(enumerate(rows)))


# The ids 0 to 2 are reserved: their scores do not count.
SCORES = np.array([[9, 9, 9, 0.1, 0.5, 0.3, 0.4]])
CASES = [
    (4, SCORES[0], 1),
    (6, SCORES[0], 2),
    (5, SCORES[0], 3),
    (3, SCORES[0], 4),
    # A tie counts against the label.
    (3, [0, 0, 0, 0.7, 0.7, 0.7, 0.1], 3),
    (6, np.zeros(7), 4),
    # An unknown label is a miss: a reserved id, or one without a score.
    (2, SCORES[0], MISS),
    (0, np.zeros(7), MISS),
    (7, SCORES[0], MISS),
    (-1, SCORES[0], MISS),
]


@pytest.mark.parametrize(("label", "scores", "rank"), CASES)
def test_the_evaluation_and_the_metrics_share_one_rule(
    label: int, scores: np.ndarray, rank: float
) -> None:
    ranks = label_ranks([scores], [label])
    assert ranks.tolist() == [rank]
    ours = ranking_metrics(ranks)._asdict()
    for metric in (HitRate(1), HitRate(10), NDCG(10), MRR()):
        metric.update_state([label], np.float32([scores]))
        assert float(metric.result()) == pytest.approx(ours[metric.name])
    assert ours["mrr"] == pytest.approx(1 / rank)


def test_seen_items_do_not_count() -> None:
    assert label_ranks(SCORES, [5], seen([4, 3])).tolist() == [2]
    # Unless they are the label, for example where users come back to items.
    assert label_ranks(SCORES, [5], seen([5, 4, 6])).tolist() == [1]


def test_rows_have_their_own_labels_and_histories() -> None:
    scores = np.tile(SCORES, (3, 1))
    ranks = label_ranks(scores, [3, 3, 4], seen([4], [], [6, 5]))
    assert ranks.tolist() == [3, 4, 1]


def test_a_collapsed_encoder_scores_nothing() -> None:
    """By score, as TFRS's metric does by default, it would be perfect."""
    queries, candidates = np.ones([50, 8]), np.ones([1000, 8])
    labels = np.arange(50) + FIRST_ITEM_ID
    metrics = ranking_metrics(label_ranks(queries @ candidates.T, labels))
    assert metrics.hit_rate_1 == metrics.hit_rate_10 == metrics.ndcg_10 == 0
    assert metrics.mrr < 0.0011


def test_equals_sorting() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(100, 50))
    labels = rng.integers(FIRST_ITEM_ID, 50, size=100)
    order = np.argsort(-scores[:, FIRST_ITEM_ID:], axis=1) + FIRST_ITEM_ID
    expected = (order == labels[:, np.newaxis]).argmax(axis=1) + 1
    assert label_ranks(scores, labels).tolist() == expected.tolist()


def test_metrics_by_hand() -> None:
    metrics = ranking_metrics([1, 2, 10, 11, MISS])
    assert metrics.hit_rate_1 == 0.2
    assert metrics.hit_rate_10 == 0.6
    assert metrics.ndcg_10 == pytest.approx((1 + 1 / np.log2(3) + 1 / np.log2(11)) / 5)
    assert metrics.mrr == pytest.approx((1 + 1 / 2 + 1 / 10 + 1 / 11) / 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.full([1, 5], np.nan), [3]), "finite"),
        ((SCORES, [3, 4]), r"labels \[users\].*\(1, 7\) and \(2,\)"),
        ((SCORES, [3], seen([3], [4])), "seen must hold the 1 users"),
        ((SCORES, [3], seen([3, 7])), "a column for each item.* 7 and .* seen 7"),
    ],
)
def test_bad_input_is_named(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        label_ranks(*arguments)


def test_nobody_to_rank_for_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one user"):
        ranking_metrics([])
