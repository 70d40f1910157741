"""The recurrent encoder."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.layers import GRUEncoder


def test_is_that_of_keras() -> None:
    encoder = GRUEncoder(13, embedding_dim=8, output_dim=6, units=5)
    ids = tf.constant([[5, 8, 6, 1, 2]])
    keras_layer = tf.keras.layers.GRU(5)
    embeddings = encoder.item_embedding(ids)
    keras_layer(embeddings)
    encoder.build([None, None])
    weights = {weight.name: weight for weight in encoder.weights}
    keras_layer.set_weights([w for key, w in weights.items() if "gru_cell" in key])
    head = weights["head/kernel:0"], weights["head/bias:0"]
    expected = keras_layer(embeddings) @ head[0] + head[1]
    np.testing.assert_allclose(encoder(ids), expected, atol=2e-6)


@pytest.mark.parametrize("argument", ["units", "num_layers"])
def test_out_of_range_arguments_are_named(argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must be .* at least 1.*it is 0"):
        GRUEncoder(**{argument: 0})
