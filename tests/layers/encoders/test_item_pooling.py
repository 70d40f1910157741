"""The encoder that pools the items themselves."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.layers import ItemPoolingEncoder


def test_mean_pooling_is_a_linear_map_of_the_mean() -> None:
    encoder = ItemPoolingEncoder(embedding_dim=2, output_dim=1, pooling="mean")
    embeddings = tf.constant([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]])
    encoder(embeddings)
    encoder.set_weights([np.array([[1.0], [10.0]]), np.array([0.5])])
    # The mean is (2, 4).
    actual = encoder(embeddings, mask=tf.constant([[True, True, False]]))
    np.testing.assert_allclose(actual, [[2 + 40 + 0.5]], atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "order_matters"), [("attention", True), ("mean", False)]
)
def test_order_matters_to_attention_only(pooling: str, order_matters: bool) -> None:
    encoder = ItemPoolingEncoder(20, output_dim=4, pooling=pooling)
    forward, backward = encoder(tf.constant([[5, 7, 9], [9, 7, 5]]))
    assert np.allclose(forward, backward, atol=1e-6) != order_matters


def test_last_pooling_sees_the_most_recent_item_alone() -> None:
    encoder = ItemPoolingEncoder(20, output_dim=4, pooling="last")
    first, second = encoder(tf.constant([[5, 7, 9], [6, 8, 9]]))
    np.testing.assert_array_equal(first, second)
