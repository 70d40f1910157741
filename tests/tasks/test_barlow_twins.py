"""The task: its loss, its metrics, and training with it."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.tasks import BarlowTwinsTask

VIEW = tf.constant([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def results(task):
    return {metric.name: float(metric.result()) for metric in task.metrics}


def test_loss_is_that_of_the_function() -> None:
    first, second = tf.random.normal([2, 32, 8])
    task = BarlowTwinsTask(off_diagonal_weight=0.1, scale=3.0, epsilon=1e-3)
    expected = tfrsb.losses.barlow_twins_loss(
        first, second, off_diagonal_weight=0.1, scale=3.0, epsilon=1e-3
    )
    loss = task(first, second)
    assert loss.dtype == tf.float32
    assert loss.shape == ()
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_sample_weight_equals_repetition() -> None:
    first, second = tf.random.normal([2, 6, 4])
    weights = [1, 2, 0, 1, 3, 1]
    task = BarlowTwinsTask()
    expected = task(tf.repeat(first, weights, axis=0), tf.repeat(second, weights, 0))
    loss = task(first, second, sample_weight=tf.constant(weights, tf.float32))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_diagnostics_by_hand() -> None:
    # C = [[0, 1], [1, 0]]; with 3 rows more than columns there is no floor.
    task = BarlowTwinsTask(off_diagonal_weight=0.25, epsilon=0.0, name="bt")
    task(VIEW, tf.reverse(VIEW, axis=[1]))
    assert results(task) == pytest.approx(
        {
            "bt/loss": 2.5,
            "bt/invariance": 2.0,
            "bt/redundancy": 2.0,
            "bt/floor": 0.0,
            "bt/excess": 2.5,
            "bt/dead_columns": 0.0,
            "bt/mean_abs_off_diagonal": 1.0,
            "bt/effective_rank": 2.0,
            "bt/standard_deviation": 1.0,
        }
    )


def test_floor_is_that_of_the_batch() -> None:
    task = BarlowTwinsTask(off_diagonal_weight=0.5, name="bt")
    loss = task(*tf.random.normal([2, 3, 6]))
    floor = float(tfrsb.losses.barlow_twins_floor(3, 6, 0.5))
    assert results(task)["bt/floor"] == pytest.approx(floor)
    assert results(task)["bt/excess"] == pytest.approx(float(loss) - floor, rel=1e-5)


def test_a_collapsed_encoder_shows() -> None:
    task = BarlowTwinsTask(name="bt")
    task(tf.ones([32, 8]), tf.ones([32, 8]))
    assert results(task)["bt/dead_columns"] == 8
    assert results(task)["bt/effective_rank"] == 0
    assert results(task)["bt/standard_deviation"] == 0
    assert results(task)["bt/invariance"] == 8


def test_a_rank_one_encoder_shows() -> None:
    task = BarlowTwinsTask(name="bt")
    user = tf.random.normal([32, 1])
    task(tf.tile(user, [1, 8]), tf.tile(user, [1, 8]))
    assert results(task)["bt/mean_abs_off_diagonal"] == pytest.approx(1, abs=1e-3)
    assert results(task)["bt/effective_rank"] == pytest.approx(1, abs=1e-3)


def test_metrics_can_be_left_out() -> None:
    similarity = tf.keras.metrics.CosineSimilarity()
    task = BarlowTwinsTask(batch_metrics=[similarity], name="bt")
    task(VIEW, VIEW, compute_metrics=False, compute_batch_metrics=False)
    assert float(similarity.result()) == 0
    assert results(task)["bt/loss"] == 0
    task(VIEW, -VIEW)
    assert float(similarity.result()) == pytest.approx(-1)
    assert results(task)["bt/loss"] == pytest.approx(8, rel=1e-4)


def test_loss_metrics_summarize_the_loss() -> None:
    mean = tf.keras.metrics.Mean()
    task = BarlowTwinsTask(loss_metrics=[mean], epsilon=0.0)
    task(VIEW, VIEW)
    task(VIEW, -VIEW)
    assert float(mean.result()) == pytest.approx(4)


def test_metrics_of_two_tasks_do_not_meet() -> None:
    names = [
        metric.name
        for name in ("items", "categories")
        for metric in BarlowTwinsTask(name=name).metrics
    ]
    assert len(set(names)) == len(names)


def test_config_round_trip() -> None:
    task = BarlowTwinsTask(
        "auto",
        check_finite=True,
        scale=0.5,
        epsilon=1e-4,
        algorithm="gram",
        batch_metrics=[tf.keras.metrics.CosineSimilarity(name="similarity")],
        loss_metrics=[tf.keras.metrics.Mean(name="mean")],
        name="bt",
    )
    same = tf.keras.layers.deserialize(tf.keras.layers.serialize(task))
    assert same.get_config() == task.get_config()
    assert [metric.name for metric in same.metrics] == [
        metric.name for metric in task.metrics
    ]
    views = tf.random.normal([2, 8, 4])
    assert float(same(*views)) == float(task(*views))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"off_diagonal_weight": -1.0}, ValueError),
        ({"off_diagonal_weight": "large"}, ValueError),
        ({"scale": -1.0}, ValueError),
        ({"scale": "1"}, TypeError),
        ({"epsilon": -1.0}, ValueError),
        ({"algorithm": "short"}, ValueError),
        ({"check_finite": None}, TypeError),
        ({"batch_metrics": ["accuracy"]}, TypeError),
        ({"loss_metrics": tf.keras.metrics.Mean()}, TypeError),
    ],
)
def test_bad_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        BarlowTwinsTask(**arguments)


def test_bad_embeddings_are_named() -> None:
    task = BarlowTwinsTask()
    with pytest.raises(ValueError, match="second_embeddings must have the shape"):
        task(VIEW, VIEW[:, tf.newaxis])
    with pytest.raises(ValueError, match="at least 2 rows"):
        task(VIEW[:1], VIEW[:1])
    with pytest.raises(TypeError, match="floating"):
        task(VIEW, tf.cast(VIEW, tf.int32))


def histories():
    """64 users who count upwards from different starts."""
    starts = tf.random.uniform([64, 1], 3, 40, tf.int32)
    counting = starts + tf.range(10)
    lengths = tf.random.uniform([64], 1, 11, tf.int32)
    return {"history": tf.where(tf.sequence_mask(lengths, 10), counting, 0)}


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy: str) -> None:
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        encoder = tfrsb.layers.ItemPoolingEncoder(60, output_dim=16, pooling="mean")
        model = tfrsb.models.BarlowTwinsPretraining(
            encoder, projector=tfrsb.layers.Projector([32, 32])
        )
        optimizer = tf.keras.optimizers.Adam(0.01)
        if policy == "mixed_float16":
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        model.compile(optimizer)
        batches = tf.data.Dataset.from_tensors(histories()).repeat(30)
        history = model.fit(batches, epochs=2, verbose=0).history
        assert encoder(tf.constant([[3, 4]])).dtype == tf.as_dtype(policy[6:])
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    losses = history["barlow_twins/loss"]
    assert losses[1] < losses[0]


def test_xla_training_step() -> None:
    model = tfrsb.models.BarlowTwinsPretraining(
        tfrsb.layers.ItemPoolingEncoder(60, output_dim=16, pooling="mean"),
        projector=tfrsb.layers.Projector([32, 32]),
    )
    model.compile(tf.keras.optimizers.Adam(0.01), jit_compile=True)
    batches = tf.data.Dataset.from_tensors(histories()).repeat(20)
    losses = model.fit(batches, epochs=2, verbose=0).history["barlow_twins/loss"]
    assert losses[1] < losses[0]
