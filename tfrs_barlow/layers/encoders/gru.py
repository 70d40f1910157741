"""The recurrent encoder."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow._checks import checked_integer
from tfrs_barlow.layers._build import build_layer
from tfrs_barlow.layers.encoders.base import SequenceEncoder


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class GRUEncoder(SequenceEncoder):
    """Encodes a sequence by gated recurrent units, as GRU4Rec does.

    Its states see all items before theirs, hence the last one is the default pooling.
    On a GPU the recurrence runs in cuDNN.

    References:
        Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks",
        2016, https://arxiv.org/abs/1511.06939.

    Example:
        >>> encoder = tfrsb.layers.GRUEncoder(vocabulary_size=100, output_dim=8)
        >>> encoder(tf.constant([[0, 7, 9], [5, 8, 6]])).shape
        TensorShape([2, 8])
    """

    causal = True

    def __init__(
        self,
        vocabulary_size: int | None = None,
        embedding_dim: int = 64,
        output_dim: int = 128,
        dropout: float = 0.0,
        pooling: str = "last",
        units: int = 64,
        num_layers: int = 1,
        **kwargs: Any,
    ) -> None:
        """Initializes the encoder.

        Args:
            vocabulary_size: See `SequenceEncoder`, as for the next four.
            embedding_dim: The width of the item embeddings.
            output_dim: The width of the embedding of a sequence.
            dropout: The fraction of units that training sets to zero.
            pooling: `"mean"`, `"last"` or `"attention"`.
            units: The width of every recurrent layer.
            num_layers: The number of recurrent layers, each on top of the one before.
            **kwargs: The arguments of `tf.keras.layers.Layer`.

        Raises:
            ValueError: If an argument is out of its range.
        """
        super().__init__(
            vocabulary_size, embedding_dim, output_dim, dropout, pooling, **kwargs
        )
        self.units = checked_integer("units", units)
        self.num_layers = checked_integer("num_layers", num_layers)
        self._recurrences = [
            tf.keras.layers.GRU(
                self.units,
                return_sequences=True,
                dtype=self.dtype_policy,
                name=f"gru_{index}",
            )
            for index in range(self.num_layers)
        ]

    @property
    def state_dim(self) -> int:
        """The number of units."""
        return self.units

    def build(self, input_shape: Any) -> None:
        """Creates all weights: none depends on `input_shape`."""
        width = self.embedding_dim
        for recurrence in self._recurrences:
            build_layer(recurrence, [None, None, width])
            width = self.units
        super().build(input_shape)

    def encode(
        self, embeddings: tf.Tensor, mask: tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """Returns the outputs of the last recurrent layer."""
        # Without a mask: padding stands after the items, and no state sees what comes
        # after it. Keras would leave cuDNN for a batch with an empty row.
        states = embeddings
        for recurrence in self._recurrences:
            states = recurrence(states, training=training)
            states = self._drop(states, training=training)
        return states

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an encoder like this one."""
        return {
            **super().get_config(),
            "units": self.units,
            "num_layers": self.num_layers,
        }
