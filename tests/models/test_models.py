"""The models: what they compute, against the parts they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

import tfrs_barlow as tfrsb
from tfrs_barlow.models import BarlowTwinsPretraining, DualEncoder

FEATURES = {
    "history": tf.constant([[3, 4, 5, 0], [6, 7, 0, 0], [8, 3, 6, 5]]),
    "label": tf.constant([6, 8, 6]),
}


def encoder():
    return tfrsb.layers.ItemPoolingEncoder(
        vocabulary_size=10, output_dim=4, pooling="mean"
    )


def test_pretraining_embeds_with_its_encoder() -> None:
    model = BarlowTwinsPretraining(encoder())
    expected = model.query_tower(FEATURES["history"])
    np.testing.assert_array_equal(model(FEATURES), expected)
    np.testing.assert_array_equal(model(FEATURES["history"]), expected)


def test_pretraining_compares_projected_views() -> None:
    views = tfrsb.layers.TwoViews([tfrsb.layers.RandomMask(0.5)], seed=1)
    model = BarlowTwinsPretraining(
        encoder(), views=views, projector=tfrsb.layers.Projector([6, 6])
    )
    loss = model.compute_loss(FEATURES, training=True)
    same_views = tfrsb.layers.TwoViews([tfrsb.layers.RandomMask(0.5)], seed=1)
    first, second = same_views(FEATURES["history"], training=True)
    expected = tfrsb.losses.barlow_twins_loss(
        model.projector(model.query_tower(first), training=True),
        model.projector(model.query_tower(second), training=True),
        off_diagonal_weight=0.05,
    )
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_pretraining_reads_another_column() -> None:
    model = BarlowTwinsPretraining(encoder(), history_column="movies")
    features = {"movies": FEATURES["history"]}
    np.testing.assert_array_equal(model(features), model(FEATURES["history"]))


def test_pretraining_compares_a_history_with_its_partner() -> None:
    views = tfrsb.layers.TwoViews([tfrsb.layers.RandomMask(0.5)], seed=1)
    model = BarlowTwinsPretraining(
        encoder(),
        views=views,
        projector=tfrsb.layers.Projector([6, 6]),
        partner_column="partner",
    )
    features = {"history": FEATURES["history"], "partner": FEATURES["history"] + 1}
    loss = model.compute_loss(features, training=False)
    expected = tfrsb.losses.barlow_twins_loss(
        model.projector(model.query_tower(features["history"])),
        model.projector(model.query_tower(features["partner"])),
        off_diagonal_weight=0.05,
    )
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("kind", ["different period", "same target"])
def test_pretraining_on_pairs_out_of_the_data(kind: str) -> None:
    log = tfrsb.data.generate_synthetic_log(num_users=40, num_items=50, mean_length=10)
    sequences, vocabulary = tfrsb.data.build_sequences(log)
    draw = {
        "different period": tfrsb.data.different_period_pairs,
        "same target": tfrsb.data.same_target_pairs,
    }[kind]
    batches = tfrsb.data.pair_batches(
        lambda seed: draw(sequences, seed=seed), batch_size=16, length=10
    )
    model = BarlowTwinsPretraining(
        tfrsb.layers.ItemPoolingEncoder(vocabulary.size, output_dim=4, pooling="mean"),
        projector=tfrsb.layers.Projector([6, 6]),
        partner_column="partner",
    )
    model.compile(tf.keras.optimizers.Adam(0.01), run_eagerly=True)
    history = model.fit(batches, steps_per_epoch=5, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert 0 <= history[f"{model.views.name}/identical_views"][0] < 1


def test_pretraining_trains_the_encoder() -> None:
    model = BarlowTwinsPretraining(encoder())
    model.compile(tf.keras.optimizers.SGD(0.1), run_eagerly=True)
    before = model(FEATURES)
    model.fit(tf.data.Dataset.from_tensors(FEATURES), verbose=0)
    assert not np.allclose(model(FEATURES), before, atol=1e-4)


def test_dual_encoder_loss_by_hand() -> None:
    """In-batch softmax, log-Q corrected, accidental hits removed."""
    probability = np.linspace(0.01, 0.2, 10)
    model = DualEncoder(
        encoder(), tf.keras.layers.Embedding(10, 4), sampling_probability=probability
    )
    loss = float(model.compute_loss(FEATURES, training=True))

    labels = FEATURES["label"].numpy()
    queries = model.query_tower(FEATURES["history"]).numpy()
    logits = queries @ model.candidate_tower(labels).numpy().T
    logits = logits - np.log(probability[labels])
    # Users 0 and 2 share their label: neither is a negative of the other.
    logits[0, 2] = logits[2, 0] = -np.inf
    likelihoods = np.diag(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    expected = -np.log(likelihoods).sum()
    assert loss == pytest.approx(expected, rel=1e-5)
    assert float(model.mean_loss.result()) == pytest.approx(expected / 3, rel=1e-5)


def test_dual_encoder_without_correction() -> None:
    model = DualEncoder(
        encoder(), tf.keras.layers.Embedding(10, 4), task=tfrs.tasks.Retrieval()
    )
    expected = tfrs.tasks.Retrieval()(
        model(FEATURES), model.candidate_tower(FEATURES["label"])
    )
    assert float(model.compute_loss(FEATURES)) == pytest.approx(float(expected))


def test_candidate_embeddings_are_those_of_all_ids() -> None:
    model = DualEncoder(encoder(), tf.keras.layers.Embedding(10, 4))
    embeddings = model.candidate_embeddings(10)
    assert embeddings.shape == (10, 4)
    np.testing.assert_array_equal(embeddings[7], model.candidate_tower(tf.constant(7)))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_dual_encoder_trains_under_a_mixed_policy(policy: str) -> None:
    def loss():
        tf.keras.utils.set_random_seed(0)
        model = DualEncoder(
            encoder(),
            tf.keras.layers.Embedding(10, 4),
            sampling_probability=np.full(10, 0.1),
        )
        model.compile(tf.keras.optimizers.Adam())
        batches = tf.data.Dataset.from_tensors(FEATURES)
        return model.fit(batches, verbose=0).history["retrieval/loss"][0]

    expected = loss()
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        assert loss() == pytest.approx(expected, rel=1e-2)
        assert tf.keras.mixed_precision.global_policy().name == policy
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
