"""Retrieval and Barlow Twins at the same time."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.models import BarlowTwinsPretraining, DualEncoder, JointModel

FEATURES = {
    "history": tf.constant([[3, 4, 5, 0], [6, 7, 0, 0], [8, 3, 6, 5]]),
    "label": tf.constant([6, 8, 6]),
    "others": tf.constant([[9, 8, 7, 6], [5, 3, 0, 0]]),
}


def joint(weight, column="history", share=1.0):
    """A joint model whose towers are the same each time."""
    tf.keras.utils.set_random_seed(0)
    encoder = tfrsb.layers.ItemPoolingEncoder(
        vocabulary_size=10, output_dim=4, pooling="mean"
    )
    candidates = tf.keras.layers.Embedding(10, 4)
    for tower in (encoder, candidates):
        tower.build([None, 4])
    return JointModel(
        DualEncoder(encoder, candidates),
        BarlowTwinsPretraining(
            encoder,
            views=tfrsb.layers.TwoViews([tfrsb.layers.RandomMask(0.5)], seed=1),
            projector=tfrsb.layers.Projector([6, 6]),
            history_column=column,
        ),
        barlow_weight=weight,
        barlow_share=share,
    )


def losses_apart(column="history", rows=None):
    """What its two models say of the same batch, or of the first rows of it."""
    model = joint(0.5, column)
    retrieval = model.dual_encoder.compute_loss(FEATURES, training=True)
    histories = {column: FEATURES[column][:rows]}
    barlow_twins = model.barlow_twins.compute_loss(histories, training=True)
    return float(retrieval), float(barlow_twins)


@pytest.mark.parametrize("column", ["history", "others"])
def test_the_weight_is_for_the_mean_of_the_one_and_the_value_of_the_other(
    column: str,
) -> None:
    retrieval, barlow_twins = losses_apart(column)
    loss = float(joint(0.5, column).compute_loss(FEATURES, training=True))
    assert loss / 3 == pytest.approx(retrieval / 3 + 0.5 * barlow_twins, rel=1e-5)


# Of three rows: a half is rounded up, and so is a tenth, since one row has no twins.
@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("form", ["dense", "of unknown rows", "ragged"])
def test_barlow_twins_sees_a_share_of_the_rows(share: float, form: str) -> None:
    retrieval, barlow_twins = losses_apart(rows=2)
    features = dict(FEATURES)
    if form == "ragged":
        features["history"] = tf.RaggedTensor.from_tensor(
            FEATURES["history"], padding=0
        )
    specs = tf.nest.map_structure(tf.type_spec_from_value, features)
    if form == "of unknown rows":
        specs["history"] = tf.TensorSpec([None, 4], tf.int32)
    model = joint(0.5, share=share)
    # AutoGraph would take longer than the test.
    model.barlow_twins.compute_loss = tf.autograph.experimental.do_not_convert(
        model.barlow_twins.compute_loss
    )

    @tf.function(input_signature=[specs])
    def compute_loss(features):
        return model.compute_loss(features, training=True)

    expected = retrieval + 3 * 0.5 * barlow_twins
    assert float(compute_loss(features)) == pytest.approx(expected, rel=1e-5)


def test_partners_are_of_the_same_rows() -> None:
    features = FEATURES | {"partner": FEATURES["history"][:, ::-1]}
    model = joint(0.5)
    model.barlow_twins.partner_column = "partner"
    retrieval = model.dual_encoder.compute_loss(features, training=True)
    first_rows = {name: features[name][:2] for name in ("history", "partner")}
    barlow_twins = model.barlow_twins.compute_loss(first_rows, training=True)
    model = joint(0.5, share=0.5)
    model.barlow_twins.partner_column = "partner"
    loss = model.compute_loss(features, training=True)
    assert float(loss) == pytest.approx(
        float(retrieval + 3 * 0.5 * barlow_twins), rel=1e-5
    )


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_of_nothing_or_more_than_all_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"barlow_share must be .* at most 1"):
        joint(0.1, share=share)


def test_the_weight_can_follow_a_schedule() -> None:
    retrieval, barlow_twins = losses_apart()
    model = joint(tf.keras.optimizers.schedules.PolynomialDecay(0.0, 10, 1.0))
    model.compile(tf.keras.optimizers.SGD(0.0))
    model.optimizer.iterations.assign(5)
    loss = float(model.compute_loss(FEATURES, training=True))
    assert loss == pytest.approx(retrieval + 3 * 0.5 * barlow_twins, rel=1e-5)


def test_without_weight_the_towers_train_as_the_dual_encoder_alone() -> None:
    weights = []
    for model in (joint(0.0), joint(0.0).dual_encoder):
        model.compile(tf.keras.optimizers.Adam(0.01), run_eagerly=True)
        batches = tf.data.Dataset.from_tensors(FEATURES).repeat()
        model.fit(batches, steps_per_epoch=5, verbose=0)
        towers = (model.query_tower, model.candidate_tower)
        weights.append([w.numpy() for tower in towers for w in tower.weights])
    for joint_weight, alone in zip(*weights, strict=True):
        np.testing.assert_array_equal(joint_weight, alone)


def test_with_weight_they_do_not() -> None:
    towers = []
    for weight in (0.0, 0.1):
        model = joint(weight)
        model.compile(tf.keras.optimizers.SGD(0.1), run_eagerly=True)
        model.fit(tf.data.Dataset.from_tensors(FEATURES), verbose=0)
        towers.append(model(FEATURES).numpy())
    assert not np.allclose(*towers, atol=1e-4)


def test_metrics_of_both_are_reported() -> None:
    model = joint(0.1)
    model.compile(tf.keras.optimizers.SGD(0.1), run_eagerly=True)
    logs = model.fit(tf.data.Dataset.from_tensors(FEATURES), verbose=0).history
    assert {"retrieval/loss", "barlow_twins/loss", "loss"} <= set(logs)


def test_the_towers_embed() -> None:
    model = joint(0.1)
    queries = model.query_tower(FEATURES["history"])
    np.testing.assert_array_equal(model(FEATURES), queries)
    assert model.candidate_embeddings(10).shape == (10, 4)


def test_another_encoder_is_refused() -> None:
    model, other = joint(0.1), joint(0.1)
    with pytest.raises(ValueError, match="must pretrain the query tower"):
        JointModel(model.dual_encoder, other.barlow_twins)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"barlow_weight must be .* at least 0"):
        joint(-1.0)
