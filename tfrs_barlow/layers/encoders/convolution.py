"""The convolutional encoder."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow._checks import checked_integer
from tfrs_barlow.layers._build import build_layer
from tfrs_barlow.layers.encoders.base import SequenceEncoder


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class ConvolutionEncoder(SequenceEncoder):
    """Encodes a sequence by convolutions over time, each with ReLU and a shortcut.

    A state sees `num_layers * (kernel_size - 1)` neighbors of its item; the order of
    items further apart is lost in the pooling. Beyond the ends of a sequence stand
    zeros. A layer has a shortcut if its input is as wide as its output: the first one
    only if `embedding_dim` equals `filters`.

    Example:
        >>> encoder = tfrsb.layers.ConvolutionEncoder(
        ...     vocabulary_size=100, output_dim=8, filters=32, kernel_size=5
        ... )
        >>> encoder(tf.constant([[0, 7, 9], [5, 8, 6]])).shape
        TensorShape([2, 8])
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        embedding_dim: int = 64,
        output_dim: int = 128,
        dropout: float = 0.0,
        pooling: str = "mean",
        filters: int = 64,
        kernel_size: int = 3,
        num_layers: int = 2,
        **kwargs: Any,
    ) -> None:
        """Initializes the encoder.

        Args:
            vocabulary_size: See `SequenceEncoder`, as for the next four.
            embedding_dim: The width of the item embeddings.
            output_dim: The width of the embedding of a sequence.
            dropout: The fraction of units that training sets to zero.
            pooling: `"mean"`, `"last"` or `"attention"`.
            filters: The width of every convolution.
            kernel_size: The number of items that a convolution sees at once.
            num_layers: The number of convolutions.
            **kwargs: The arguments of `tf.keras.layers.Layer`.

        Raises:
            ValueError: If an argument is out of its range.
        """
        super().__init__(
            vocabulary_size, embedding_dim, output_dim, dropout, pooling, **kwargs
        )
        self.filters = checked_integer("filters", filters)
        self.kernel_size = checked_integer("kernel_size", kernel_size)
        self.num_layers = checked_integer("num_layers", num_layers)
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
        # Padding must look like the border: a longer row has more of it in the place
        # of the zeros beyond the end of a shorter one.
        real = tf.cast(mask, embeddings.dtype)[..., tf.newaxis]
        states = embeddings
        for convolution in self._convolutions:
            change = self._drop(convolution(states * real), training=training)
            is_as_wide = states.shape[-1] == self.filters
            states = states + change if is_as_wide else change
        return states

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an encoder like this one."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "num_layers": self.num_layers,
        }
