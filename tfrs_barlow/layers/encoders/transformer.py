"""The Transformer encoder, bidirectional or causal."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.layers._build import build_layer
from tfrs_barlow.layers.encoders.base import SequenceEncoder
from tfrs_barlow.layers.encoders.pooling import Pooling

# Keras' own epsilon of 1e-3 would outweigh the variance of fresh item embeddings,
# 8e-4. Below 1e-5 Keras leaves its fused kernel, a third faster.
_NORM_EPSILON = 2e-5


@tf.keras.utils.register_keras_serializable(package="tfrs_barlow")
class TransformerEncoder(SequenceEncoder):
    """Encodes a sequence by self-attention, with normalization before every block.

    A bidirectional encoder (as BERT4Rec) averages the states by default. A causal one
    (as SASRec), where an item attends to itself and earlier items, takes the last one.

    Position embeddings are learned. Positions are counted back from the most recent
    item, whose position is 0. All items from the `max_length`-th on share the last
    position: longer sequences lose no item, only the order of the oldest.

    Args:
        vocabulary_size: The number of ids, reserved ids included (`Vocabulary.size`).
            None for an encoder that reads only embeddings.
        embedding_dim: The width of the item embeddings and of every block.
        output_dim: The width of the embedding of a sequence.
        dropout: The fraction of units that training sets to zero.
        pooling: `"mean"`, `"last"` or `"attention"`. None for `"last"` if `causal`,
            else `"mean"`.
        hash_buckets: The rows of the item table if it shall have fewer rows than ids:
            see `HashedEmbedding`. None for one row per id.
        num_layers: The number of blocks, each of attention and feed-forward.
        num_heads: The number of attention heads: a divisor of `embedding_dim`.
        feed_forward_dim: The width of the hidden feed-forward layer.
        causal: Whether an item attends only to itself and earlier items.
        max_length: The number of positions with an embedding.
        **kwargs: Passed on to `tf.keras.layers.Layer`.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is out of its range.

    Examples:
        >>> encoder = tfrsb.layers.TransformerEncoder(
        ...     vocabulary_size=100, output_dim=8, causal=True
        ... )
        >>> encoder.pooling
        'last'
        >>> encoder(tf.constant([[0, 7, 9], [5, 8, 6]])).shape
        TensorShape([2, 8])

    References:
        Kang and McAuley (2018), "Self-Attentive Sequential Recommendation",
        https://arxiv.org/abs/1808.09781.
        Sun et al. (2019), "BERT4Rec: Sequential Recommendation with Bidirectional
        Encoder Representations from Transformer", https://arxiv.org/abs/1904.06690.
        Xiong et al. (2020), "On Layer Normalization in the Transformer Architecture",
        https://arxiv.org/abs/2002.04745.
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        *,
        embedding_dim: int = 64,
        output_dim: int = 128,
        dropout: float = 0.0,
        pooling: Pooling | None = None,
        hash_buckets: int | None = None,
        num_layers: int = 2,
        num_heads: int = 2,
        feed_forward_dim: int = 256,
        causal: bool = False,
        max_length: int = 200,
        **kwargs: Any,
    ) -> None:
        self.causal = _checks.boolean("causal", causal)
        if pooling is None:
            pooling = "last" if causal else "mean"
        super().__init__(
            vocabulary_size,
            embedding_dim=embedding_dim,
            output_dim=output_dim,
            dropout=dropout,
            pooling=pooling,
            hash_buckets=hash_buckets,
            **kwargs,
        )
        self.num_layers = _checks.integer("num_layers", num_layers, at_least=1)
        self.num_heads = _checks.integer("num_heads", num_heads, at_least=1)
        self.feed_forward_dim = _checks.integer(
            "feed_forward_dim", feed_forward_dim, at_least=1
        )
        self.max_length = _checks.integer("max_length", max_length, at_least=1)
        if self.embedding_dim % self.num_heads:
            raise ValueError(
                f"num_heads must divide embedding_dim={self.embedding_dim}, but it is "
                f"{num_heads!r}."
            )
        policy = self.dtype_policy
        self._position_embedding = tf.keras.layers.Embedding(
            self.max_length, self.embedding_dim, dtype=policy, name="position_embedding"
        )
        self._blocks = [
            _Block(
                self.embedding_dim,
                self.num_heads,
                self.feed_forward_dim,
                self.dropout,
                dtype=policy,
                name=f"block_{index}",
            )
            for index in range(self.num_layers)
        ]
        self._norm = tf.keras.layers.LayerNormalization(
            epsilon=_NORM_EPSILON, dtype=policy, name="norm"
        )

    @property
    def state_dim(self) -> int:
        """The width of the item embeddings."""
        return self.embedding_dim

    def build(self, input_shape: Any) -> None:
        """Creates all weights: none depends on `input_shape`."""
        build_layer(self._position_embedding, [None, None])
        for layer in (*self._blocks, self._norm):
            build_layer(layer, [None, None, self.embedding_dim])
        super().build(input_shape)

    def encode(
        self, embeddings: tf.Tensor, mask: tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """Returns the normalized output of the last block."""
        positions = self._drop(
            self._position_embedding(self._positions(mask)), training=training
        )
        states = embeddings + positions
        attended = self._attended(mask)
        for block in self._blocks:
            states = block(states, attended, training=training)
        return self._norm(states)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "feed_forward_dim": self.feed_forward_dim,
            "causal": self.causal,
            "max_length": self.max_length,
        }

    def _positions(self, mask: tf.Tensor) -> tf.Tensor:
        """Returns how many items follow each one, at most `max_length - 1`."""
        count = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1, keepdims=True)
        following = count - 1 - tf.range(tf.shape(mask)[1])
        return tf.clip_by_value(following, 0, self.max_length - 1)

    def _attended(self, mask: tf.Tensor) -> tf.Tensor:
        """Returns who attends to whom, broadcastable to `[batch, length, length]`."""
        attended = mask[:, tf.newaxis, :]
        if not self.causal:
            return attended
        position = tf.range(tf.shape(mask)[1])
        return attended & (position[:, tf.newaxis] >= position)


class _Block(tf.keras.layers.Layer):
    """Self-attention and feed-forward, each after a normalization, with shortcuts.

    One product computes queries, keys and values of all heads: a fifth faster than
    `tf.keras.layers.MultiHeadAttention`, which also lacks a public way to build it.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        feed_forward_dim: int,
        dropout: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._dim, self._num_heads = dim, num_heads
        self._attention_norm = self._new_norm("attention_norm")
        self._query_key_value = self._new_dense(3 * dim, "query_key_value")
        self._attention_output = self._new_dense(dim, "attention_output")
        self._feed_forward_norm = self._new_norm("feed_forward_norm")
        self._hidden = self._new_dense(feed_forward_dim, "hidden", activation="relu")
        self._feed_forward_output = self._new_dense(dim, "feed_forward_output")
        self._drop = tf.keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        for layer in (
            self._attention_norm,
            self._query_key_value,
            self._attention_output,
            self._feed_forward_norm,
            self._hidden,
        ):
            build_layer(layer, input_shape)
        build_layer(self._feed_forward_output, [None, None, self._hidden.units])
        super().build(input_shape)

    def call(
        self, states: tf.Tensor, attended: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        change = self._attend(self._attention_norm(states), attended, training)
        states = states + self._drop(change, training=training)
        hidden = self._hidden(self._feed_forward_norm(states))
        change = self._feed_forward_output(self._drop(hidden, training=training))
        return states + self._drop(change, training=training)

    def _attend(
        self, states: tf.Tensor, attended: tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """Returns scaled dot-product attention of the states to each other."""
        batch, length = tf.unstack(tf.shape(states)[:2])
        head_dim = self._dim // self._num_heads
        heads = tf.reshape(
            self._query_key_value(states),
            [batch, length, 3, self._num_heads, head_dim],
        )
        query, key, value = tf.unstack(tf.transpose(heads, [2, 0, 3, 1, 4]))
        scores = tf.matmul(query * head_dim**-0.5, key, transpose_b=True)
        # Selected, not added: in float16 the sum of a score and the minimum overflows,
        # and a row without items, where all are minima, would give NaN.
        scores = tf.where(attended[:, tf.newaxis], scores, scores.dtype.min)
        weights = self._drop(tf.nn.softmax(scores), training=training)
        mixed = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
        return self._attention_output(tf.reshape(mixed, [batch, length, self._dim]))

    def _new_norm(self, name: str) -> tf.keras.layers.LayerNormalization:
        return tf.keras.layers.LayerNormalization(
            epsilon=_NORM_EPSILON, dtype=self.dtype_policy, name=name
        )

    def _new_dense(
        self, units: int, name: str, activation: str | None = None
    ) -> tf.keras.layers.Dense:
        return tf.keras.layers.Dense(
            units, activation=activation, dtype=self.dtype_policy, name=name
        )
