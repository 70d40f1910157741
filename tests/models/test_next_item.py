"""The supervised reference: every position's next item, by a softmax over items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb

VOCABULARY_SIZE = 12


def gru():
    return tfrsb.layers.GRUEncoder(
        VOCABULARY_SIZE, embedding_dim=4, output_dim=3, units=8
    )


def transformer(**kwargs):
    return tfrsb.layers.TransformerEncoder(
        VOCABULARY_SIZE,
        embedding_dim=4,
        output_dim=3,
        num_layers=2,
        feed_forward_dim=8,
        causal=True,
        **kwargs,
    )


def model_of(encoder, **kwargs):
    return tfrsb.models.NextItemModel(
        encoder,
        tf.keras.layers.Embedding(VOCABULARY_SIZE, 3, embeddings_initializer="normal"),
        vocabulary_size=VOCABULARY_SIZE,
        **kwargs,
    )


def features(history, label):
    return {"history": tf.constant(history), "label": tf.constant(label)}


class TestEmbedPrefixes:
    # With one position to tell apart, that of a prefix is that of the whole.
    @pytest.mark.parametrize("make", [gru, lambda: transformer(max_length=1)])
    def test_is_the_embedding_of_each_prefix(self, make: Any) -> None:
        encoder = make()
        history = [3, 5, 4, 11]
        embeddings, items = encoder.embed_prefixes(tf.constant([history]))
        assert items.numpy().tolist() == [history]
        for end in range(1, 5):
            prefix = encoder(tf.constant([history[:end]]))
            np.testing.assert_allclose(embeddings[:, end - 1], prefix, atol=1e-6)

    @pytest.mark.parametrize(
        "ids", [tf.constant([[0, 3, 0, 99]]), tf.ragged.constant([[3, 99]])]
    )
    def test_items_stand_in_front_and_unknown_ones_are_marked(self, ids: Any) -> None:
        _, items = gru().embed_prefixes(ids)
        assert items[0, :2].numpy().tolist() == [3, 2]
        assert not items[0, 2:].numpy().any()

    def test_makes_the_weights_that_a_call_uses(self) -> None:
        encoder = gru()
        embeddings, _ = encoder.embed_prefixes(tf.constant([[3, 4]]))
        np.testing.assert_allclose(
            embeddings[:, -1], encoder(tf.constant([[3, 4]])), atol=1e-6
        )

    @pytest.mark.parametrize(
        "encoder",
        [
            tfrsb.layers.ItemPoolingEncoder(VOCABULARY_SIZE, pooling="mean"),
            tfrsb.layers.TransformerEncoder(VOCABULARY_SIZE),
            tfrsb.layers.GRUEncoder(VOCABULARY_SIZE, pooling="mean"),
        ],
    )
    def test_refuses_states_that_know_the_future(self, encoder: Any) -> None:
        with pytest.raises(ValueError, match="Only a causal encoder"):
            encoder.embed_prefixes(tf.constant([[3, 4]]))


class TestLoss:
    def test_is_the_mean_cross_entropy_of_all_positions(self) -> None:
        model = model_of(gru())
        batch = features([[3, 4, 5], [0, 7, 2]], [6, 9])
        queries, _ = model.query_tower.embed_prefixes(batch["history"])
        # 3 -> 4 -> 5 -> 6; and 7 -> 2, which is no item, -> 9.
        queries = np.float64(
            [queries[0, 0], queries[0, 1], queries[0, 2], queries[1, 1]]
        )
        candidates = np.float64(model.candidate_embeddings(VOCABULARY_SIZE))[3:]
        logits = queries @ candidates.T
        chosen = logits[range(4), np.array([4, 5, 6, 9]) - 3]
        expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen)
        np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-5)
        np.testing.assert_allclose(model.mean_loss.result(), expected, rtol=1e-5)

    def test_among_some_items_is_that_among_them_and_the_label(self) -> None:
        model = model_of(gru(), num_sampled=400)
        batch = features([[3]], [6])
        query = np.float64(model(batch))[0]
        scores = np.exp(np.float64(model.candidate_embeddings(VOCABULARY_SIZE)) @ query)
        # Of 400 drawn from nine items, a ninth is the label and does not count.
        others = np.delete(scores[3:], 6 - 3)
        expected = np.log1p(400 / 9 * others.sum() / scores[6])
        np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=0.1)

    def test_draws_other_items_at_each_step(self) -> None:
        model = model_of(gru(), num_sampled=2)
        model.compile(tf.keras.optimizers.Adam())
        batch = features([[3, 4, 5]], [6])
        first = model.compute_loss(batch)
        assert model.compute_loss(batch) == first
        model.optimizer.iterations.assign(1)
        assert model.compute_loss(batch) != first

    @pytest.mark.parametrize("num_sampled", [None, 3])
    def test_a_batch_without_items_costs_nothing(self, num_sampled: int | None) -> None:
        model = model_of(gru(), num_sampled=num_sampled)
        assert model.compute_loss(features([[0, 0]], [6])) == 0


@pytest.mark.parametrize("num_sampled", [None, 6])
@pytest.mark.parametrize("make", [gru, transformer])
def test_learns_a_cycle(make: Any, num_sampled: int | None) -> None:
    """After item i comes item i + 1, whatever came before."""
    cycle = np.arange(9)
    history = 3 + (cycle[:, np.newaxis] + np.arange(4)) % 9
    batch = features(history.astype(np.int32), (3 + (cycle + 4) % 9).astype(np.int32))
    model = model_of(make(), num_sampled=num_sampled)
    model.compile(tf.keras.optimizers.Adam(0.03))
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(200), verbose=0)
    scores = model(batch).numpy() @ model.candidate_embeddings(12).numpy().T
    assert (scores[:, 3:].argmax(axis=1) + 3).tolist() == batch[
        "label"
    ].numpy().tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary_size": 3}, "vocabulary_size must be .* at least 4"),
        ({"vocabulary_size": 9, "num_sampled": 0}, "num_sampled must be .* at least 1"),
    ],
)
def test_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfrsb.models.NextItemModel(gru(), tf.keras.layers.Embedding(9, 3), **arguments)


def test_makes_its_weights_under_a_strategy() -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = model_of(transformer())
        model.compile(tf.keras.optimizers.SGD(0.1))
    batches = tf.data.Dataset.from_tensors(features([[3, 4, 5]], [6]))
    history = model.fit(batches, verbose=0).history
    assert np.isfinite(history["loss"][0])
