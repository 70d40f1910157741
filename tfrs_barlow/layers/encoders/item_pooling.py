"""The encoder that pools the items themselves."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow.layers.encoders.base import SequenceEncoder
from tfrs_barlow.layers.encoders.pooling import Pooling


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class ItemPoolingEncoder(SequenceEncoder):
    """Encodes a sequence as a linear map of its pooled item embeddings.

    It is the smallest encoder, and the default of the examples. What it sees depends on
    the pooling:

    - `"attention"` concatenates several weighted means. Their weights start with
      different horizons, from all items alike to little more than the last one.
      Training changes them, by how recent an item is and by its embedding.
    - `"mean"` sees which items there are and how often, but not their order.
    - `"last"` sees the most recent item alone.

    Args:
        vocabulary_size: The number of ids, reserved ids included (`Vocabulary.size`).
            None for an encoder that reads only embeddings.
        embedding_dim: The width of the item embeddings.
        output_dim: The width of the embedding of a sequence.
        dropout: The fraction of units that training sets to zero.
        pooling: `"attention"`, `"mean"` or `"last"`.
        hash_buckets: The rows of the item table if it shall have fewer rows than ids:
            see `HashedEmbedding`. None for one row per id.
        **kwargs: Passed on to `tf.keras.layers.Layer`.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is out of its range.

    Examples:
        >>> forward_and_backward = tf.constant([[5, 7, 9], [9, 7, 5]])
        >>> attention = tfrsb.layers.ItemPoolingEncoder(100, output_dim=8)
        >>> forward, backward = attention(forward_and_backward)
        >>> bool(np.allclose(forward, backward, atol=1e-6))
        False
        >>> mean = tfrsb.layers.ItemPoolingEncoder(100, output_dim=8, pooling="mean")
        >>> forward, backward = mean(forward_and_backward)
        >>> bool(np.allclose(forward, backward, atol=1e-6))
        True
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        *,
        embedding_dim: int = 64,
        output_dim: int = 128,
        dropout: float = 0.0,
        pooling: Pooling = "attention",
        hash_buckets: int | None = None,
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

    @property
    def state_dim(self) -> int:
        """The width of the item embeddings."""
        return self.embedding_dim

    def encode(
        self, embeddings: tf.Tensor, mask: tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """Returns the item embeddings unchanged."""
        return embeddings
