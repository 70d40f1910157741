"""The convolutional encoder."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.layers import ConvolutionEncoder


def set_to_ones(encoder: ConvolutionEncoder) -> None:
    """Makes every kernel one and every bias zero."""
    for weight in encoder.weights:
        weight.assign(tf.zeros_like(weight) if "bias" in weight.name else weight**0)


def test_is_that_of_the_formula() -> None:
    encoder = ConvolutionEncoder(embedding_dim=1, output_dim=1, filters=1, num_layers=2)
    inputs = tf.constant([[[1.0], [2.0], [3.0]]])
    encoder(inputs)
    set_to_ones(encoder)
    # With kernels of ones: [1, 2, 3] + [3, 6, 5] = [4, 8, 8],
    # and [4, 8, 8] + [12, 20, 16] = [16, 28, 24].
    np.testing.assert_allclose(encoder(inputs), [[(16 + 28 + 24) / 3]], atol=1e-5)


def test_has_no_shortcut_between_different_widths() -> None:
    encoder = ConvolutionEncoder(
        embedding_dim=1, output_dim=1, filters=2, num_layers=1, kernel_size=1
    )
    inputs = tf.constant([[[3.0]]])
    encoder(inputs)
    set_to_ones(encoder)
    np.testing.assert_allclose(encoder(inputs), [[3 + 3]], atol=1e-5)


def test_an_empty_batch_has_finite_gradients_where_widths_differ() -> None:
    """TensorFlow's convolution of no rows has the width of its input."""
    encoder = ConvolutionEncoder(9, embedding_dim=3, filters=5)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def gradients(ids: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoder(ids))
        found = tape.gradient(loss, encoder.trainable_variables)
        return [tf.convert_to_tensor(gradient) for gradient in found]

    for gradient in gradients(tf.zeros([0, 4], tf.int32)):
        assert not gradient.numpy().any()


@pytest.mark.parametrize("argument", ["filters", "kernel_size", "num_layers"])
def test_out_of_range_arguments_are_named(argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must be .* at least 1.*it is 0"):
        ConvolutionEncoder(**{argument: 0})
