"""Ranking from embeddings: by hand, against `FactorizedTopK`, and in TFRS models."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_barlow.evaluation.ranking import label_ranks
from tfrs_barlow.metrics import MRR, NDCG, Coverage, FactorizedRanking, HitRate

RNG = np.random.default_rng(0)
NUM_ITEMS = 60

# The scores of the ids 3 to 6 for the query 1 are 4, 2, 3 and 1.
TABLE = np.float32([[9], [9], [9], [4], [2], [3], [1]])
ONES = tf.ones([1, 1])


def mrr(label, *, candidates=TABLE, query=ONES, **kwargs):
    """The reciprocal rank of one label."""
    ranking = FactorizedRanking(candidates, [MRR()])
    ranking.update_state(query, query, tf.constant([label]), **kwargs)
    return float(ranking.result()[0])


def test_by_hand() -> None:
    assert mrr(3) == 1
    assert mrr(5) == 1 / 2
    assert mrr(6) == 1 / 4
    assert mrr(6, query=-ONES) == 1
    assert mrr(0) == 0


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        ([], 1 / 3),  # Of the label 4, behind 3 and 5.
        ([0, 0], 1 / 3),
        ([3, 0, 0], 1 / 2),
        ([3, 3, 5], 1),
        ([6], 1 / 3),
        ([4], 1 / 3),  # The label stays.
        ([5, 4], 1 / 2),
        ([-1, 7, 5, 1000], 1 / 2),  # Out of range changes nothing.
        ([3, 4, 5, 6], 1),
    ],
)
@pytest.mark.parametrize("make", [tf.constant, tf.ragged.constant])
def test_seen_items_are_left_out(excluded: Any, expected: Any, make: Any) -> None:
    ids = make([excluded], dtype=tf.int32)
    assert mrr(4, excluded_ids=ids) == pytest.approx(expected)


def test_each_row_has_its_own_seen_items() -> None:
    ranking = FactorizedRanking(TABLE, [MRR()])
    queries, labels = tf.constant([[1.0], [-1.0], [1.0]]), tf.constant([4, 4, 6])
    # The second query likes 6 best: the end of the third row must not exclude it.
    seen = tf.ragged.constant([[3, 5, 6], [], [3, 4]])
    ranking.update_state(queries, queries, labels, excluded_ids=seen)
    assert float(ranking.result()[0]) == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_function_of_any_batch_size(jit_compile: bool) -> None:
    ranking = FactorizedRanking(TABLE, [MRR(), Coverage(1, 7)])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 1]),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None, None], tf.int32),
        ],
        jit_compile=jit_compile,
    )
    def update(queries, labels, seen):
        ranking.update_state(queries, queries, labels, excluded_ids=seen)

    update(ONES, tf.constant([4], tf.int64), tf.constant([[3]]))
    update(tf.ones([2, 1]), tf.constant([4, 6], tf.int64), tf.constant([[3, 5]] * 2))
    result, coverage = ranking.result()
    assert float(result) == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert float(coverage) == 2 / 4


def test_candidates_are_those_of_now() -> None:
    table = tf.Variable(TABLE)
    rankings = [
        FactorizedRanking(candidates, [MRR()])
        for candidates in (table, lambda: table, lambda: table * 1.0)
    ]
    for sign, expected in ((1, 1 / 4), (-1, 1)):
        table.assign(sign * TABLE)
        for ranking in rankings:
            ranking.reset_states()
            ranking.update_state(ONES, ONES, tf.constant([6]))
            assert float(ranking.result()[0]) == expected


def test_a_collapsed_encoder_is_perfect_by_score_and_near_zero_by_id() -> None:
    num_items, batch = 1000, 50
    # Whole numbers, so that rounding does not decide.
    embedding = RNG.integers(-3, 4, size=8)
    table = tf.constant(np.tile(embedding, [num_items, 1]), tf.float32)
    queries = table[:batch]
    labels = tf.constant(RNG.integers(3, num_items, size=batch))
    by_score = tfrs.metrics.FactorizedTopK(
        tf.data.Dataset.from_tensor_slices(table[3:]).batch(100), ks=[10]
    )
    by_score.update_state(queries, tf.gather(table, labels))
    assert float(by_score.result()[0]) == 1

    by_id = FactorizedRanking(table, [HitRate(10), NDCG(10), MRR()])
    by_id.update_state(queries, tf.gather(table, labels), labels)
    expected = [0, 0, 1 / 997]
    assert [float(value) for value in by_id.result()] == pytest.approx(expected)


def test_half_precision_embeddings_are_scored_in_float32() -> None:
    table = tf.Variable(RNG.normal(size=[100, 4]), dtype=tf.float16)
    queries = tf.cast(RNG.normal(size=[8, 4]), tf.float16)
    labels = tf.constant(RNG.integers(3, 100, size=8))
    half = FactorizedRanking(table, [MRR()])
    half.update_state(queries, queries, labels)
    single = FactorizedRanking(tf.cast(table, tf.float32), [MRR()])
    single.update_state(tf.cast(queries, tf.float32), queries, labels)
    assert float(half.result()[0]) == float(single.result()[0])


class Towers(tfrs.Model):
    """Users and items in one table; seen items are left out unless by the task."""

    def __init__(self, *, by_task):
        super().__init__()
        self.table = tf.keras.layers.Embedding(NUM_ITEMS, 4)
        self.table.build(None)
        self.by_task = by_task
        self.ranking = FactorizedRanking(
            lambda: self.table.embeddings,
            [HitRate(1), HitRate(5), NDCG(10), MRR(), Coverage(3, NUM_ITEMS)],
        )
        self.task = tfrs.tasks.Retrieval(
            metrics=self.ranking if by_task else None, remove_accidental_hits=True
        )

    def compute_loss(self, features, training=False):
        labels, seen = features["label"], features["seen"]
        queries = tf.reduce_mean(self.table(seen), axis=1)
        if not training and not self.by_task:
            self.ranking.update_state(queries, None, labels, excluded_ids=seen)
        return self.task(
            queries,
            self.table(labels),
            candidate_ids=labels,
            sample_weight=features["weight"] if self.by_task else None,
            compute_metrics=not training,
        )


FEATURES = {
    "seen": RNG.integers(3, NUM_ITEMS, size=[30, 4]).astype(np.int32),
    "label": RNG.integers(3, NUM_ITEMS, size=30).astype(np.int32),
    "weight": RNG.uniform(size=30).astype(np.float32),
}


@pytest.mark.parametrize("by_task", [True, False])
def test_in_a_tfrs_model(by_task: bool) -> None:
    model = Towers(by_task=by_task)
    model.compile("sgd")
    assert len(model.trainable_variables) == 1
    data = tf.data.Dataset.from_tensor_slices(FEATURES).batch(8)
    # The metrics of training, which are not computed, and of evaluation.
    history = model.fit(data, validation_data=data, epochs=2, verbose=0).history
    shown = model.evaluate(data, return_dict=True, verbose=0)
    assert history["mrr"] == [0, 0]
    assert history["val_mrr"][-1] == pytest.approx(shown["mrr"])

    table = model.table.embeddings.numpy()
    labels, seen, rows = FEATURES["label"], FEATURES["seen"], np.arange(30)
    scores = table[seen].mean(axis=1) @ table.T
    weights = FEATURES["weight"] if by_task else np.ones(30)
    if not by_task:
        of_labels = scores[rows, labels]
        scores[rows[:, np.newaxis], seen] = -1e9
        scores[rows, labels] = of_labels
    ranks = label_ranks(scores, labels)
    gains = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0)
    expected = {
        "hit_rate_1": np.average(ranks <= 1, weights=weights),
        "hit_rate_5": np.average(ranks <= 5, weights=weights),
        "ndcg_10": np.average(gains, weights=weights),
        "mrr": np.average(1 / ranks, weights=weights),
        "coverage_3": len(np.unique(np.argsort(-scores[:, 3:])[:, :3])) / 57,
    }
    for name, value in expected.items():
        assert shown[name] == pytest.approx(value, rel=1e-5), name


def test_equals_factorized_top_k_on_distinct_scores() -> None:
    """Without ties and stale candidates both give the same values."""
    table = tf.constant(RNG.normal(size=[50, 4]), tf.float32)
    queries = tf.constant(RNG.normal(size=[40, 4]), tf.float32)
    labels = tf.constant(RNG.integers(3, 50, size=40))
    top_k = tfrs.layers.factorized_top_k.BruteForce(k=10)
    top_k.index(table[3:], tf.range(3, 50, dtype=tf.int64))
    both = [
        tfrs.metrics.FactorizedTopK(top_k, ks=[1, 10]),
        FactorizedRanking(table, [HitRate(1), HitRate(10)]),
    ]
    # With ten extra negatives, whose ids come after the labels.
    negatives = tf.range(3, 13, dtype=tf.int64)
    with_negatives = tf.concat([labels, negatives], axis=0)
    tfrs.tasks.Retrieval(metrics=both[1])(
        queries, tf.gather(table, with_negatives), candidate_ids=with_negatives
    )
    tfrs.tasks.Retrieval(metrics=both[0])(
        queries, tf.gather(table, labels), candidate_ids=labels
    )
    theirs, ours = ([float(value) for value in one.result()] for one in both)
    assert ours == pytest.approx(theirs)
    assert ours[1] > 0


# Logical devices can only be set in a process that has not used TensorFlow yet.
REPLICAS = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
from test_factorized_ranking import FEATURES, NUM_ITEMS, Towers

def evaluate(strategy):
    with strategy.scope():
        model = Towers(by_task=True)
        model.compile()
    rows = tf.reshape(tf.range(4.0 * NUM_ITEMS), [NUM_ITEMS, 4])
    model.table.embeddings.assign(tf.math.sin(rows))
    data = tf.data.Dataset.from_tensor_slices(FEATURES).batch(13)
    for _ in range(2):  # The second time after a reset.
        shown = model.evaluate(data, return_dict=True, verbose=0)
    return {name: shown[name] for name in shown if "loss" not in name}

one = evaluate(tf.distribute.get_strategy())
two = evaluate(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
assert len(one) == 5 and 0 < one["coverage_3"] < 1, one
for name in one:
    assert abs(one[name] - two[name]) < 1e-6, (name, one, two)
"""


@pytest.mark.slow
def test_two_replicas_report_what_one_does() -> None:
    folder = pathlib.Path(__file__).parent
    result = subprocess.run(
        [sys.executable, "-c", REPLICAS],
        env={
            **os.environ,
            "TF_USE_LEGACY_KERAS": "1",
            "PYTHONPATH": os.pathsep.join([str(folder), str(folder.parents[1])]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-6000:]


def test_without_ids() -> None:
    with pytest.raises(ValueError, match="pass candidate_ids to tfrs"):
        task = tfrs.tasks.Retrieval(metrics=FactorizedRanking(TABLE, [MRR()]))
        task(tf.ones([2, 1]), tf.ones([2, 1]))


def test_fewer_ids_than_queries() -> None:
    ranking = FactorizedRanking(TABLE, [MRR()])
    with pytest.raises(tf.errors.InvalidArgumentError, match="one item id for each"):
        ranking.update_state(tf.ones([2, 1]), None, tf.constant([3]))


@pytest.mark.parametrize("metrics", [[], [HitRate(3), HitRate(3)]])
def test_bad_metrics(metrics: Any) -> None:
    with pytest.raises(ValueError, match="metrics must hold at least one metric and"):
        FactorizedRanking(TABLE, metrics)


@pytest.mark.parametrize("metrics", [None, HitRate(3), ["mrr"]])
def test_what_is_no_list_of_metrics_is_refused(metrics: object) -> None:
    with pytest.raises(TypeError, match="metrics must be a list of Metric objects"):
        FactorizedRanking(TABLE, metrics)
