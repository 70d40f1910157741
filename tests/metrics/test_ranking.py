"""Ranking metrics: by hand, against scikit-learn, and in Keras models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import (
    label_ranking_average_precision_score,
    ndcg_score,
    top_k_accuracy_score,
)

from tfrs_barlow.data import UserSequences
from tfrs_barlow.evaluation.ranking import label_ranks, ranking_metrics
from tfrs_barlow.metrics import MRR, NDCG, Coverage, HitRate, PopularityBias

RNG = np.random.default_rng(0)
INF = np.inf
COUNTS = np.arange(10.0)


def result(metric, y_true, y_pred, **kwargs):
    metric.update_state(np.asarray(y_true), np.float32(y_pred), **kwargs)
    return float(metric.result())


def rank(label, scores, **kwargs):
    """The rank of one label; infinite for a miss."""
    reciprocal = result(MRR(**kwargs), [label], [scores])
    return 1 / reciprocal if reciprocal else INF


def in_graph(metric, **options):
    """Wraps the update in a graph, where that of Keras returns an operation."""

    @tf.function(**options)
    def update(y_true, y_pred):
        metric.update_state(y_true, y_pred)

    return update


def all_metrics(num_items, k=3):
    return [
        HitRate(k),
        NDCG(k),
        MRR(),
        MRR(k),
        Coverage(k, num_items),
        PopularityBias(k, np.arange(num_items)),
    ]


# Each row: label, scores of the ids 0 to 6 (0 to 2 are reserved), rank.
@pytest.mark.parametrize(
    ("label", "scores", "expected"),
    [
        (4, [9, 9, 9, 0.1, 0.9, 0.2, 0.3], 1),  # Reserved ids are not ranked.
        (3, [9, 9, 9, 0.1, 0.9, 0.2, 0.3], 4),
        (5, [0, 0, 0, 0.3, 0.9, 0.3, 0.1], 3),  # One higher, one the same.
        (3, [0, 0, 0, 0.5, 0.5, 0.5, 0.5], 4),  # All the same: the last.
        (3, [0, 0, 0, 0.1, -INF, -INF, 0.3], 2),  # Two are left out.
        (3, [0, 0, 0, 0.1, -INF, -INF, -INF], 1),
        (3, [0, 0, 0, -INF, 0.2, 0.1, 0.3], INF),  # The label is left out.
        (3, [0, 0, 0, -INF, -INF, -INF, -INF], INF),
        (3, [0, 0, 0, INF, INF, 0.1, 0.3], 2),
        (0, [9, 0, 0, 0.1, 0.9, 0.2, 0.3], INF),  # No model can recommend padding,
        (2, [0, 0, 9, 0.1, 0.9, 0.2, 0.3], INF),  # nor an unknown item,
        (7, [0, 0, 0, 0.1, 0.9, 0.2, 0.3], INF),  # nor what is out of range.
        (-1, [0, 0, 0, 0.1, 0.9, 0.2, 9], INF),
    ],
)
def test_ranks_by_hand(label: int, scores: Any, expected: Any) -> None:
    assert rank(label, scores) == pytest.approx(expected)


def test_all_ids_may_be_items() -> None:
    assert rank(0, [9, 0, 0, 0.1], first_item_id=0) == 1
    assert rank(3, [9, 0, 0, 0.1], first_item_id=0) == 2


RANKS_1_2_4 = [4, 6, 3], [[0, 0, 0, 0.1, 0.9, 0.2, 0.3]] * 3


def test_accuracy_by_hand() -> None:
    """Users of ranks 1, 2 and 4."""
    assert result(HitRate(1), *RANKS_1_2_4) == pytest.approx(1 / 3)
    assert result(HitRate(3), *RANKS_1_2_4) == pytest.approx(2 / 3)
    assert result(HitRate(4), *RANKS_1_2_4) == 1
    assert result(HitRate(99), *RANKS_1_2_4) == 1
    log_3, log_5 = np.log2(3), np.log2(5)
    assert result(NDCG(3), *RANKS_1_2_4) == pytest.approx((1 + 1 / log_3) / 3)
    assert result(NDCG(4), *RANKS_1_2_4) == pytest.approx(
        (1 + 1 / log_3 + 1 / log_5) / 3
    )
    assert result(MRR(), *RANKS_1_2_4) == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)
    assert result(MRR(3), *RANKS_1_2_4) == pytest.approx((1 + 1 / 2) / 3)


@pytest.mark.slow  # Numba compiles it for half a minute.
@pytest.mark.parametrize("k", [1, 5, 20])
def test_accuracy_agrees_with_ranx(k: int) -> None:
    """An independent implementation, on random scores."""
    ranx = pytest.importorskip("ranx")
    scores = RNG.permuted(np.tile(np.arange(40.0), (300, 1)), axis=1)
    labels = RNG.integers(3, 40, 300)
    relevant = {f"user {user}": {str(item): 1} for user, item in enumerate(labels)}
    ranked = {
        f"user {user}": {str(item): row[item] for item in range(3, 40)}
        for user, row in enumerate(scores)
    }
    expected = ranx.evaluate(
        ranx.Qrels(relevant),
        ranx.Run(ranked),
        [f"{name}@{k}" for name in ("hit_rate", "ndcg", "mrr")],
    )
    for metric, name in ((HitRate(k), "hit_rate"), (NDCG(k), "ndcg"), (MRR(k), "mrr")):
        assert result(metric, labels, scores) == pytest.approx(expected[f"{name}@{k}"])


# The lists of two: [4, 6], [4, 6], [3] as nothing else is left, and none.
RECOMMENDED = [
    [9, 9, 9, 0.1, 0.9, 0.2, 0.3, -1],
    [9, 9, 9, -0.1, 0.9, -0.2, 0.3, -1],
    [9, 9, 9, 0.1, -INF, -INF, -INF, -INF],
    [9, 9, 9, -INF, -INF, -INF, -INF, -INF],
]


@pytest.mark.parametrize("sample_weight", [None, [1, 5, 2, 7], 3, [[1], [5], [2], [7]]])
def test_coverage_by_hand(sample_weight: Any) -> None:
    """The items 3, 4 and 6 of 3 to 7, whatever the weights."""
    coverage = result(Coverage(2, 8), [3] * 4, RECOMMENDED, sample_weight=sample_weight)
    assert coverage == pytest.approx(3 / 5)


def test_coverage_leaves_out_users_of_weight_0() -> None:
    coverage = result(Coverage(2, 8), [3] * 4, RECOMMENDED, sample_weight=[0, 1, 0, 1])
    assert coverage == pytest.approx(2 / 5)


def test_coverage_counts_an_item_once_over_batches() -> None:
    metric = Coverage(1, 8)
    for row, expected in zip(RECOMMENDED, [1 / 5, 1 / 5, 2 / 5, 2 / 5], strict=True):
        assert result(metric, [3], [row]) == pytest.approx(expected)
    assert result(Coverage(99, 8), [3], RECOMMENDED[:1]) == 1
    assert result(Coverage(2, 8, first_item_id=0), [3], RECOMMENDED[:1]) == 2 / 8


def test_popularity_by_hand() -> None:
    counts = [99, 99, 99, 10, 2, 0, 6, 1]
    # Lists of a mean popularity of 4, 4 and 10; users without a list do not count.
    metric = PopularityBias(2, counts)
    assert result(metric, [3] * 4, RECOMMENDED) == pytest.approx(18 / 3)
    metric.reset_state()
    weights = [1, 0, 3, 9]
    assert result(metric, [3] * 4, RECOMMENDED, sample_weight=weights) == pytest.approx(
        (4 + 3 * 10) / 4
    )
    nobody = result(PopularityBias(2, counts), [3], RECOMMENDED[3:])
    assert nobody == 0
    assert result(PopularityBias(99, counts), [3], RECOMMENDED[:1]) == (
        pytest.approx(19 / 5)
    )


@pytest.mark.parametrize("weights", [[1, 0, 3], [[1], [0], [3]]])
def test_sample_weights(weights: Any) -> None:
    """Of the ranks 1, 2 and 4."""
    mrr = result(MRR(), *RANKS_1_2_4, sample_weight=np.float32(weights))
    assert mrr == pytest.approx((1 + 3 / 4) / 4)


@pytest.mark.parametrize("decimals", [9, 1], ids=["distinct scores", "many ties"])
@pytest.mark.parametrize("k", [1, 5, 10])
def test_against_scikit_learn(k: int, decimals: int) -> None:
    scores = RNG.normal(size=(200, 30)).round(decimals)
    labels = RNG.integers(30, size=200)
    relevant = np.eye(30)[labels]
    # Its average precision counts ties against the label, as we do.
    assert result(MRR(first_item_id=0), labels, scores) == pytest.approx(
        label_ranking_average_precision_score(relevant, scores), rel=1e-6
    )
    if decimals == 9:
        assert result(HitRate(k, first_item_id=0), labels, scores) == pytest.approx(
            top_k_accuracy_score(labels, scores, k=k, labels=range(30))
        )
        assert result(NDCG(k, first_item_id=0), labels, scores) == pytest.approx(
            ndcg_score(relevant, scores, k=k), rel=1e-6
        )


@pytest.mark.parametrize("decimals", [9, 1], ids=["distinct scores", "many ties"])
def test_as_our_own_evaluation(decimals: int) -> None:
    scores = RNG.normal(size=(100, 40)).astype(np.float32).round(decimals)
    labels = RNG.integers(3, 40, size=100)
    histories = RNG.integers(3, 40, size=[100, 8])
    seen = UserSequences.from_lists(dict(enumerate(histories)))
    expected = ranking_metrics(label_ranks(scores, labels, seen=seen))
    rows = np.repeat(np.arange(100), seen.lengths)
    left_out = scores.copy()
    left_out[rows, seen.item_ids] = -INF
    left_out[np.arange(100), labels] = scores[np.arange(100), labels]
    for metric in HitRate(1), HitRate(10), NDCG(10), MRR():
        assert result(metric, labels, left_out) == pytest.approx(
            getattr(expected, metric.name), rel=1e-6
        )


def test_the_metrics_of_a_collapsed_model_are_near_zero() -> None:
    alike = np.full([50, 1000], 0.7)
    labels = RNG.integers(3, 1000, size=50)
    assert result(HitRate(10), labels, alike) == 0
    assert result(NDCG(10), labels, alike) == 0
    assert result(MRR(), labels, alike) == pytest.approx(1 / 997)
    assert result(Coverage(10, 1000), labels, alike) == pytest.approx(10 / 997)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_scores_of_any_floating_type(dtype: Any) -> None:
    scores = tf.cast(RNG.permutation(10)[np.newaxis], dtype)
    as_float = tf.cast(scores, tf.float32)
    for one, other in zip(all_metrics(10), all_metrics(10), strict=True):
        one.update_state([4], scores)
        other.update_state([4], as_float)
        assert one.result().dtype == tf.float32
        assert float(one.result()) == float(other.result())


def test_an_empty_batch_changes_nothing() -> None:
    for metric in all_metrics(10):
        before = result(metric, [3, 4], RNG.normal(size=(2, 10)))
        assert result(metric, np.zeros(0, int), np.zeros((0, 10))) == before


def test_mixed_precision() -> None:
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        metrics = all_metrics(3000)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    scores = tf.cast(tf.range(3000)[tf.newaxis] % 999, tf.float16)
    for one, other in zip(metrics, all_metrics(3000), strict=True):
        for _ in range(3):
            one.update_state([2990], scores)
            other.update_state([2990], scores)
        assert float(one.result()) == float(other.result())


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_function_of_any_batch_size(jit_compile: bool) -> None:
    metrics, expected = all_metrics(10), all_metrics(10)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, 10 if jit_compile else None]),
        ],
        jit_compile=jit_compile,
    )
    def update(y_true, y_pred):
        for metric in metrics:
            metric.update_state(y_true, y_pred)

    for rows in 4, 1, 3:
        labels, scores = RNG.integers(10, size=rows), RNG.normal(size=(rows, 10))
        update(tf.constant(labels, tf.int32), tf.constant(scores, tf.float32))
        for metric in expected:
            metric.update_state(labels, scores)
    for one, other in zip(metrics, expected, strict=True):
        assert float(one.result()) == pytest.approx(float(other.result())), one.name
        one.reset_state()
        assert float(one.result()) == 0


def test_nan_never_helps() -> None:
    """Under XLA, which drops the check."""
    metric = MRR()
    update = in_graph(metric, jit_compile=True)
    update(tf.constant([3]), tf.constant([[0, 0, 0, 0.5, np.nan, 0.1]]))
    assert float(metric.result()) == 0.5
    update(tf.constant([3]), tf.constant([[0, 0, 0, np.nan, 0.2, 0.1]]))
    assert float(metric.result()) == 0.25


def test_in_compile() -> None:
    num_items = 12
    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(num_items, activation="softmax", input_shape=[5])]
    )
    model.compile(
        "sgd",
        "sparse_categorical_crossentropy",
        metrics=all_metrics(num_items),
        weighted_metrics=[HitRate(2, name="weighted")],
    )
    features = RNG.normal(size=(10, 5)).astype(np.float32)
    labels, weights = RNG.integers(12, size=10), RNG.uniform(size=10)
    data = {"x": features, "y": labels, "sample_weight": weights, "batch_size": 4}
    history = model.fit(**data, verbose=0).history
    assert {metric.name for metric in all_metrics(num_items)} < set(history)

    shown = model.evaluate(**data, verbose=0, return_dict=True)
    scores = model.predict(features, verbose=0)
    for metric in all_metrics(num_items):
        assert shown[metric.name] == pytest.approx(result(metric, labels, scores))
    expected = result(HitRate(2), labels, scores, sample_weight=weights)
    assert shown["weighted"] == pytest.approx(expected)


def test_names() -> None:
    names = [metric.name for metric in all_metrics(10, k=7)]
    assert names == [
        "hit_rate_7",
        "ndcg_7",
        "mrr",
        "mrr_7",
        "coverage_7",
        "popularity_bias_7",
    ]
    assert HitRate(7, name="mine").name == "mine"


@pytest.mark.parametrize("metric", all_metrics(10), ids=lambda metric: metric.name)
def test_serialization(metric: Any) -> None:
    config = tf.keras.metrics.serialize(metric)
    again = tf.keras.metrics.deserialize(config)
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    scores = RNG.normal(size=(5, 10))
    assert result(again, [3, 4, 5, 6, 9], scores) == pytest.approx(
        result(metric, [3, 4, 5, 6, 9], scores)
    )


def test_states_merge() -> None:
    scores = RNG.normal(size=(6, 10))
    labels = RNG.integers(3, 10, size=6)
    for first, second, whole in zip(*(all_metrics(10) for _ in range(3)), strict=True):
        result(first, labels[:4], scores[:4])
        result(second, labels[4:], scores[4:])
        first.merge_state([second])
        assert float(first.result()) == pytest.approx(result(whole, labels, scores))


@pytest.mark.parametrize("metric", all_metrics(6), ids=lambda metric: metric.name)
@pytest.mark.parametrize(
    ("y_pred", "error", "message"),
    [
        (tf.zeros([2, 6], tf.int32), TypeError, "y_pred must be floating.*int32"),
        (tf.zeros([2, 3, 6]), ValueError, r"y_pred must have the shape.*\(2, 3, 6\)"),
        (
            tf.constant([[0] * 6, [0, 0, 0, np.nan, 0, 0]]),
            tf.errors.InvalidArgumentError,
            "y_pred must not hold NaN",
        ),
    ],
)
def test_bad_scores(
    metric: Any, y_pred: Any, error: type[Exception], message: str
) -> None:
    for update in metric.update_state, in_graph(metric):
        with pytest.raises(error, match=message):
            update(tf.constant([3, 4]), y_pred)


@pytest.mark.parametrize("metric", [HitRate(3), NDCG(3), MRR()])
@pytest.mark.parametrize(
    ("y_true", "error", "message"),
    [
        ([3.0, 4.0], TypeError, "y_true must hold integer item ids.*float32"),
        ([3], tf.errors.InvalidArgumentError, "y_true must hold one item id"),
        (np.eye(6, dtype=int)[:2], tf.errors.InvalidArgumentError, "one item id"),
    ],
)
def test_bad_labels(
    metric: Any, y_true: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        metric.update_state(y_true, tf.zeros([2, 6]))


@pytest.mark.parametrize("metric", [Coverage(3, 7), PopularityBias(3, np.arange(7))])
def test_scores_of_other_items(metric: Any) -> None:
    with pytest.raises(ValueError, match=r"y_pred must have 7 columns.*\(2, 6\)"):
        metric.update_state([3, 4], tf.zeros([2, 6]))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: HitRate(0), ValueError, "k must be .* at least 1, but it is 0"),
        (lambda: HitRate(2.5), TypeError, "k must be an integer"),
        (lambda: NDCG(None), TypeError, "k must be an integer"),
        (lambda: MRR(0), ValueError, "k must be"),
        (lambda: Coverage(0, 9), ValueError, "k must be"),
        (lambda: Coverage(2.5, 10), TypeError, "k must be an integer"),
        (lambda: Coverage(3, "9"), TypeError, "vocabulary_size must be an integer"),
        (lambda: PopularityBias(0, COUNTS), ValueError, "k must be"),
        (lambda: NDCG(3, first_item_id=-1), ValueError, "first_item_id must be .*-1"),
        (lambda: Coverage(3, 3), ValueError, "first_item_id must be .* at most 2"),
        (lambda: PopularityBias(3, [1, 1, 1]), ValueError, "first_item_id must be"),
        (lambda: PopularityBias(3, [COUNTS]), ValueError, "item_counts must have the"),
        (lambda: PopularityBias(3, -COUNTS), ValueError, "item_counts .* not negative"),
        (lambda: PopularityBias(3, COUNTS * np.nan), ValueError, "item_counts .*finit"),
        (lambda: PopularityBias(3, ["many"]), TypeError, "item_counts must hold num"),
    ],
)
def test_bad_arguments_are_named(
    make: Callable[[], tf.keras.metrics.Metric], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()
