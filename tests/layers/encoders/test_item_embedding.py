"""An item table is that of Keras, except for the form of its gradient."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.layers.encoders import item_embedding

IDS = tf.constant([[3, 4, 4], [0, 3, 3]], tf.int64)


def embed(table, ids):
    """Returns the embeddings of ids, and the gradient of the table."""
    table.build([None, None])
    table.embeddings.assign(tf.reshape(tf.range(15.0), [5, 3]))
    with tf.GradientTape() as tape:
        embeddings = table(ids)
        loss = tf.reduce_sum(tf.cast(embeddings, tf.float32) ** 2)
    return embeddings, tape.gradient(loss, table.embeddings)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("dense", [True, False])
def test_equals_that_of_keras(monkeypatch, policy: str, dense) -> None:
    monkeypatch.setattr(item_embedding, "_DENSE_ROWS", 5 if dense else 4)
    ours, gradient = embed(item_embedding.ItemEmbedding(5, 3, dtype=policy), IDS)
    theirs, expected = embed(tf.keras.layers.Embedding(5, 3, dtype=policy), IDS)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    assert isinstance(gradient, tf.IndexedSlices) != dense
    np.testing.assert_allclose(*map(tf.convert_to_tensor, (gradient, expected)))


def test_unknown_items_are_an_error() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        embed(item_embedding.ItemEmbedding(5, 3), tf.constant([[5]]))


def test_a_tower_made_of_it_is_saved_and_loaded(tmp_path: pathlib.Path) -> None:
    ids = tf.keras.Input([None], dtype=tf.int32)
    tower = tf.keras.Model(ids, item_embedding.ItemEmbedding(5, 3)(ids))
    tower.save(tmp_path / "tower.keras")
    loaded = tf.keras.models.load_model(tmp_path / "tower.keras")
    np.testing.assert_array_equal(loaded(IDS), tower(IDS))
