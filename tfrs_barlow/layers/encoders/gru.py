"""The recurrent encoder."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.layers._build import build_layer
from tfrs_barlow.layers.encoders.base import SequenceEncoder
from tfrs_barlow.layers.encoders.pooling import Pooling


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class GRUEncoder(SequenceEncoder):
    """Encodes a sequence by gated recurrent units, as GRU4Rec does.

    Each state depends on all earlier items, so the default pooling takes the last one.
    On a GPU the recurrence runs in cuDNN.

    Args:
        vocabulary_size: The number of ids, reserved ids included (`Vocabulary.size`).
            None for an encoder that reads only embeddings.
        embedding_dim: The width of the item embeddings.
        output_dim: The width of the embedding of a sequence.
        dropout: The fraction of units that training sets to zero.
        pooling: `"last"`, `"mean"` or `"attention"`.
        hash_buckets: The rows of the item table if it shall have fewer rows than ids:
            see `HashedEmbedding`. None for one row per id.
        units: The width of every recurrent layer.
        num_layers: The number of recurrent layers.
        **kwargs: Passed on to `tf.keras.layers.Layer`.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is out of its range.

    Examples:
        >>> encoder = tfrsb.layers.GRUEncoder(vocabulary_size=100, output_dim=8)
        >>> encoder(tf.constant([[0, 7, 9], [5, 8, 6]])).shape
        TensorShape([2, 8])

    References:
        Hidasi et al. (2016), "Session-based Recommendations with Recurrent Neural
        Networks", https://arxiv.org/abs/1511.06939.
    """

    causal = True

    def __init__(
        self,
        vocabulary_size: int | None = None,
        *,
        embedding_dim: int = 64,
        output_dim: int = 128,
        dropout: float = 0.0,
        pooling: Pooling = "last",
        hash_buckets: int | None = None,
        units: int = 64,
        num_layers: int = 1,
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
        self.units = _checks.integer("units", units, at_least=1)
        self.num_layers = _checks.integer("num_layers", num_layers, at_least=1)
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
        # No mask is needed: padding comes after the items. With one, Keras would not
        # use cuDNN for a batch with an empty row.
        states = embeddings
        for recurrence in self._recurrences:
            states = recurrence(states, training=training)
            states = self._drop(states, training=training)
        return states

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "units": self.units,
            "num_layers": self.num_layers,
        }
