"""The encoder that pools the items themselves: the smallest, and the default."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow.layers.encoders.base import SequenceEncoder


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class ItemPoolingEncoder(SequenceEncoder):
    """Encodes a sequence as a linear map of its pooled item embeddings.

    With `pooling="attention"` the embedding is made of several weighted means. Their
    weights start with different horizons, from all items alike to little more than the
    last one. Training changes them, by how recent an item is and by what it is.

    With `pooling="mean"` the encoder sees which items there are and how often, but not
    their order. With `pooling="last"` it sees the most recent item alone.

    Args:
        vocabulary_size: The number of ids, reserved ones included; see
            `SequenceEncoder`.
        embedding_dim: The width of the item embeddings.
        output_dim: The width of the embedding of a sequence.
        dropout: The fraction of units that training sets to zero.
        pooling: `"attention"`, `"mean"` or `"last"`.
        **kwargs: More arguments of `SequenceEncoder`.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is out of its range.

    Examples:
        >>> mean = tfrsb.layers.ItemPoolingEncoder(100, output_dim=8, pooling="mean")
        >>> forward, backward = mean(tf.constant([[5, 7, 9], [9, 7, 5]]))
        >>> bool(np.allclose(forward, backward, atol=1e-6))
        True
        >>> attention = tfrsb.layers.ItemPoolingEncoder(100, output_dim=8)
        >>> forward, backward = attention(tf.constant([[5, 7, 9], [9, 7, 5]]))
        >>> bool(np.allclose(forward, backward, atol=1e-6))
        False
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        embedding_dim: int = 64,
        output_dim: int = 128,
        dropout: float = 0.0,
        pooling: str = "attention",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            vocabulary_size, embedding_dim, output_dim, dropout, pooling, **kwargs
        )

    @property
    def state_dim(self) -> int:
        """The width of the item embeddings."""
        return self.embedding_dim

    def encode(
        self, embeddings: tf.Tensor, mask: tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """Returns the item embeddings as they are."""
        return embeddings
