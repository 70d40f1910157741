"""An item table with fewer rows than items, alone and in an encoder."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.layers import HashedEmbedding, ItemPoolingEncoder

ITEMS = 10_000_003
BUCKETS = 1000


@pytest.fixture(scope="module")
def layer():
    layer = HashedEmbedding(ITEMS, 6, num_buckets=BUCKETS, num_hashes=3, seed=1)
    layer(tf.constant([0]))
    return layer


def rows_of(layer, ids):
    return layer._rows(tf.constant(ids, tf.int64)).numpy()


class TestRows:
    def test_are_those_of_the_formula(self, layer) -> None:
        prime = 2**31 - 1
        for item in (3, 4, 77_777, ITEMS - 1):
            expected = [
                3 + (int(a) * item + int(b)) % prime % (BUCKETS - 3)
                for a, b in zip(layer._factors, layer._summands, strict=True)
            ]
            assert rows_of(layer, [item]).tolist() == [expected]
            parts = layer.embeddings.numpy()[expected]
            np.testing.assert_array_equal(layer(tf.constant([item]))[0], parts.ravel())

    def test_of_reserved_ids_are_their_own(self, layer) -> None:
        assert rows_of(layer, [0, 1, 2]).tolist() == [[0] * 3, [1] * 3, [2] * 3]
        rows = rows_of(layer, np.arange(3, 50_000))
        assert rows.min() == 3 and rows.max() == BUCKETS - 1

    def test_are_evenly_and_independently_used(self) -> None:
        layer = HashedEmbedding(ITEMS, 2, num_buckets=103)
        first, second = (rows_of(layer, np.arange(3, 100_003)) - 3).T
        counts = np.bincount(100 * first + second, minlength=10_000)
        # Consecutive ids are spread more evenly than a random draw would be.
        assert len(counts) == 10_000
        assert counts.max() < 40 and (counts > 0).mean() > 0.99

    def test_seeds_differ(self) -> None:
        one, other = (
            HashedEmbedding(ITEMS, 2, num_buckets=BUCKETS, seed=seed) for seed in (1, 2)
        )
        assert (rows_of(one, range(3, 99)) != rows_of(other, range(3, 99))).mean() > 0.9


class TestLayer:
    @pytest.mark.parametrize("shape", [[], [4], [2, 3], [0, 5]])
    def test_takes_ids_of_any_shape(self, shape, layer) -> None:
        ids = tf.random.uniform(shape, 0, ITEMS, tf.int32)
        embeddings = layer(ids)
        assert embeddings.shape == [*shape, 6]
        flat = layer(tf.reshape(ids, [-1]))
        np.testing.assert_array_equal(tf.reshape(embeddings, [-1, 6]), flat)

    def test_is_the_same_compiled(self, layer) -> None:
        ids = tf.constant([[0, 1, 2, 3], [ITEMS - 1, 9, 8, 7]])
        compiled = tf.function(lambda ids: layer(ids), jit_compile=True)
        np.testing.assert_array_equal(compiled(ids), layer(ids))

    def test_its_gradient_has_only_rows_that_were_looked_up(self, layer) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(tf.constant([[5, 9]])))
        gradient = tape.gradient(loss, layer.embeddings)
        assert isinstance(gradient, tf.IndexedSlices)
        assert gradient.indices.shape == [6]

    def test_keeps_its_precision_in_a_mixed_policy(self) -> None:
        layer = HashedEmbedding(9, 4, num_buckets=7, dtype="mixed_bfloat16")
        assert layer(tf.constant([3])).dtype == tf.bfloat16
        assert layer.embeddings.dtype == tf.float32

    def test_config(self, layer) -> None:
        twin = HashedEmbedding.from_config(layer.get_config())
        np.testing.assert_array_equal(rows_of(twin, [7, 8]), rows_of(layer, [7, 8]))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_buckets": 3}, "num_buckets must be an integer of at least 4"),
            ({"num_hashes": 3}, "output_dim must be a multiple of num_hashes=3"),
            ({"num_hashes": 0}, "num_hashes must be an integer of at least 1"),
            (
                {"input_dim": 2**31},
                "input_dim must be an integer of at least 1 and of at most 2147483647",
            ),
        ],
    )
    def test_bad_arguments_are_named(self, arguments, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            HashedEmbedding(
                **{"input_dim": 9, "output_dim": 8, "num_buckets": 5, **arguments}
            )


class TestEncoder:
    HISTORIES = tf.constant([[0, 3, 1], [ITEMS - 1, 500_000, 77], [4, 5, 6], [9, 8, 0]])

    @pytest.fixture
    def encoder(self):
        return ItemPoolingEncoder(
            ITEMS, embedding_dim=4, output_dim=8, hash_buckets=BUCKETS, pooling="mean"
        )

    def test_unknown_and_masked_items_have_rows_of_their_own(self, encoder) -> None:
        unknown, beyond, masked, item = encoder(
            tf.constant([[2], [ITEMS + 5], [1], [3]])
        )
        np.testing.assert_array_equal(unknown, beyond)
        assert not np.allclose(unknown, masked) and not np.allclose(masked, item)

    def test_comes_back_from_a_file(self, encoder, tmp_path: pathlib.Path) -> None:
        inputs = tf.keras.Input([None], dtype=tf.int64)
        model = tf.keras.Model(inputs, encoder(inputs))
        model.save(tmp_path / "model.keras")
        loaded = tf.keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded(self.HISTORIES), encoder(self.HISTORIES))

    def test_pretrains(self, encoder) -> None:
        model = tfrsb.models.BarlowTwinsPretraining(
            encoder, projector=tfrsb.layers.Projector([8])
        )
        model.compile(tf.keras.optimizers.Adagrad(0.1), run_eagerly=True)
        before = encoder(self.HISTORIES).numpy()
        table = encoder.item_embedding.embeddings.numpy()
        batches = tf.data.Dataset.from_tensors({"history": self.HISTORIES}).repeat(3)
        model.fit(batches, verbose=0)
        moved = np.any(encoder.item_embedding.embeddings != table, axis=1)
        # Two rows for each of nine items, and one for the mask.
        assert 0 < moved.sum() <= 2 * 9 + 1 and not moved[0]
        assert not np.allclose(encoder(self.HISTORIES), before)

    def test_learns_next_items_of_ten_million_by_a_sampled_softmax(self) -> None:
        encoder = tfrsb.layers.GRUEncoder(
            ITEMS, embedding_dim=8, output_dim=8, hash_buckets=BUCKETS
        )
        model = tfrsb.models.NextItemModel(
            encoder, encoder.item_embedding, vocabulary_size=ITEMS, num_sampled=64
        )
        model.compile(tf.keras.optimizers.Adam(0.02))
        items = np.random.default_rng(0).integers(3, ITEMS, [16, 5])
        features = {"history": items[:, :4], "label": items[:, 4]}
        batches = tf.data.Dataset.from_tensors(features).repeat(60)
        losses = model.fit(batches, epochs=2, verbose=0).history["next_item/loss"]
        assert losses[1] < 0.5 * losses[0]

    def test_exports(self, tmp_path: pathlib.Path) -> None:
        vocabulary = tfrsb.data.Vocabulary([f"item {n}" for n in range(50)])
        encoder = ItemPoolingEncoder(
            vocabulary.size, output_dim=4, hash_buckets=20, pooling="mean"
        )
        tfrsb.serving.export(encoder, tmp_path, vocabulary=vocabulary)
        served = tfrsb.serving.load(tmp_path)
        ids = vocabulary.encode(["item 7", "item 3"])
        found = served.signatures["embed"](tf.constant([["item 7", "item 3"]]))
        np.testing.assert_allclose(
            found["embedding"], encoder(ids[np.newaxis]), atol=1e-6
        )
