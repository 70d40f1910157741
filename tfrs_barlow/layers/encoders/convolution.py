"""The convolutional encoder."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.layers._build import build_layer
from tfrs_barlow.layers.encoders.base import SequenceEncoder
from tfrs_barlow.layers.encoders.pooling import Pooling


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class ConvolutionEncoder(SequenceEncoder):
    """Encodes a sequence by convolutions over time, each with ReLU and a shortcut.

    A state depends on `num_layers * (kernel_size - 1)` neighbors of its item; pooling
    loses the order of items further apart. A sequence is padded with zeros at both
    ends. A layer has a shortcut if its input is as wide as its output: the first layer
    only if `embedding_dim` equals `filters`.

    Args:
        vocabulary_size: The number of ids, reserved ids included (`Vocabulary.size`).
            None for an encoder that reads only embeddings.
        embedding_dim: The width of the item embeddings.
        output_dim: The width of the embedding of a sequence.
        dropout: The fraction of units that training sets to zero.
        pooling: `"mean"`, `"last"` or `"attention"`.
        hash_buckets: The rows of the item table if it shall have fewer rows than ids:
            see `HashedEmbedding`. None for one row per id.
        filters: The width of every convolution.
        kernel_size: The number of items that a convolution sees at once.
        num_layers: The number of convolutions.
        **kwargs: Passed on to `tf.keras.layers.Layer`.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is out of its range.

    Examples:
        >>> encoder = tfrsb.layers.ConvolutionEncoder(
        ...     vocabulary_size=100, output_dim=8, filters=32, kernel_size=5
        ... )
        >>> encoder(tf.constant([[0, 7, 9], [5, 8, 6]])).shape
        TensorShape([2, 8])
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        *,
        embedding_dim: int = 64,
        output_dim: int = 128,
        dropout: float = 0.0,
        pooling: Pooling = "mean",
        hash_buckets: int | None = None,
        filters: int = 64,
        kernel_size: int = 3,
        num_layers: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            vocabulary_size,
            embedding_dim=embedding_dim,
            output_dim=output_dim,
            dropout=dropout,
            pooling=pooling,
            hash_buckets=hash_buckets,
            **kwargs,
        )
        self.filters = _checks.integer("filters", filters, at_least=1)
        self.kernel_size = _checks.integer("kernel_size", kernel_size, at_least=1)
        self.num_layers = _checks.integer("num_layers", num_layers, at_least=1)
        self._convolutions = [
            tf.keras.layers.Conv1D(
                self.filters,
                self.kernel_size,
                padding="same",
                activation="relu",
                dtype=self.dtype_policy,
                name=f"convolution_{index}",
            )
            for index in range(self.num_layers)
        ]

    @property
    def state_dim(self) -> int:
        """The number of filters."""
        return self.filters

    def build(self, input_shape: Any) -> None:
        """Creates all weights: none depends on `input_shape`."""
        width = self.embedding_dim
        for convolution in self._convolutions:
            build_layer(convolution, [None, None, width])
            width = self.filters
        super().build(input_shape)

    def encode(
        self, embeddings: tf.Tensor, mask: tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """Returns the output of the last convolution."""
        rows = tf.shape(mask)[0]
        # TensorFlow's convolution of 0 rows has the width of its input: add one.
        missing = tf.maximum(1 - rows, 0)
        states = tf.pad(embeddings, [[0, missing], [0, 0], [0, 0]])
        # Padding must be zeros in every layer, as beyond the end of the longest row.
        real = tf.cast(tf.pad(mask, [[0, missing], [0, 0]]), states.dtype)
        for convolution in self._convolutions:
            change = convolution(states * real[..., tf.newaxis])
            change = self._drop(change, training=training)
            is_as_wide = states.shape[-1] == self.filters
            states = states + change if is_as_wide else change
        return states[:rows]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "num_layers": self.num_layers,
        }
