"""Full ranking by id: worked out by hand, and safe from collapse."""

import numpy as np
import pytest

from tfrs_barlow.data import FIRST_ITEM_ID, UserSequences
from tfrs_barlow.evaluation import label_ranks, ranking_metrics


def seen(*rows):
    return UserSequences(
        user_ids=np.arange(len(rows)),
        item_ids=np.array([item for row in rows for item in row], np.int32),
        timestamps=np.zeros(sum(map(len, rows)), np.int64),
        row_splits=np.cumsum([0, *map(len, rows)]),
    )


SCORES = np.array([[9, 9, 9, 0.1, 0.5, 0.3, 0.4]])


@pytest.mark.parametrize(("label", "rank"), [(4, 1), (6, 2), (5, 3), (3, 4)])
def test_by_hand(label, rank):
    """Reserved ids do not count, whatever they score."""
    assert label_ranks(SCORES, [label]).tolist() == [rank]


def test_seen_items_do_not_count():
    assert label_ranks(SCORES, [5], seen([4, 3])).tolist() == [2]
    # Unless they are what is looked for, as where users come back to items.
    assert label_ranks(SCORES, [5], seen([5, 4, 6])).tolist() == [1]


def test_rows_have_their_own_labels_and_histories():
    scores = np.tile(SCORES, (3, 1))
    ranks = label_ranks(scores, [3, 3, 4], seen([4], [], [6, 5]))
    assert ranks.tolist() == [3, 4, 1]


def test_a_tie_counts_against_the_label():
    assert label_ranks(np.zeros([2, 10]), [3, 9]).tolist() == [7, 7]


def test_a_collapsed_encoder_scores_nothing():
    """By score, as TFRS's metric does by default, it would be perfect."""
    queries, candidates = np.ones([50, 8]), np.ones([1000, 8])
    labels = np.arange(50) + FIRST_ITEM_ID
    figures = ranking_metrics(label_ranks(queries @ candidates.T, labels))
    assert figures.hit_rate_1 == figures.hit_rate_10 == figures.ndcg_10 == 0
    assert figures.mrr < 0.0011


def test_a_label_without_an_item_is_never_found():
    assert label_ranks(SCORES, [2]).tolist() == [4]


def test_equals_sorting():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(100, 50))
    labels = rng.integers(FIRST_ITEM_ID, 50, size=100)
    order = np.argsort(-scores[:, FIRST_ITEM_ID:], axis=1) + FIRST_ITEM_ID
    expected = (order == labels[:, np.newaxis]).argmax(axis=1) + 1
    assert label_ranks(scores, labels).tolist() == expected.tolist()


def test_figures_by_hand():
    figures = ranking_metrics([1, 2, 10, 11])
    assert figures.hit_rate_1 == 0.25
    assert figures.hit_rate_10 == 0.75
    assert figures.ndcg_10 == pytest.approx((1 + 1 / np.log2(3) + 1 / np.log2(11)) / 4)
    assert figures.mrr == pytest.approx((1 + 1 / 2 + 1 / 10 + 1 / 11) / 4)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="finite"):
        label_ranks(np.full([1, 5], np.nan), [3])
    with pytest.raises(ValueError, match=r"labels \[users\].*\(1, 7\) and \(2,\)"):
        label_ranks(SCORES, [3, 4])
    with pytest.raises(ValueError, match="seen must hold the 1 users"):
        label_ranks(SCORES, [3], seen([3], [4]))
    with pytest.raises(ValueError, match="at least one user"):
        ranking_metrics([])
