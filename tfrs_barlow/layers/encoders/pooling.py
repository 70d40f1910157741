"""Poolings: from one state per position to one vector per sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf

Pooling = Literal["attention", "last", "mean"]

POOLING_NAMES: tuple[Pooling, ...] = get_args(Pooling)

DECAYS = (0.0, 1.0, 3.0)
"""How the heads of `AttentionPooling` begin: an item that r others follow has the
weight (1 + r) ** -decay. The first head is the mean, the last sees mostly the end."""

MAX_LENGTH = 200
"""How many positions `AttentionPooling` distinguishes."""


def masked_mean(states: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the mean of the real states of every row, `[batch, dim]`.

    Takes finite states `[batch, length, dim]` and a mask `[batch, length]` that is true
    where a state is real. A row without real states gives zeros.
    """
    count = tf.math.count_nonzero(mask, axis=1, keepdims=True)
    # Dividing before the sum keeps long float16 sequences from overflowing.
    weights = tf.cast(mask, states.dtype) / tf.cast(tf.maximum(count, 1), states.dtype)
    return _weighted_sum(states, weights)


def masked_last(states: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the last real state of every row, or zeros: see `masked_mean`."""
    real_from_here = tf.cumsum(tf.cast(mask, tf.int32), axis=1, reverse=True)
    is_last = mask & (real_from_here == 1)
    return _weighted_sum(states, tf.cast(is_last, states.dtype))


class AttentionPooling(tf.keras.layers.Layer):
    """Several weighted means of the states, concatenated.

    Each head weighs a state by a softmax of two learned terms: one depends on the state
    itself, one on how many items follow it. At first only the second counts, with
    another strength for each head (`DECAYS`). From the `MAX_LENGTH`-th item on, counted
    from the most recent one, all are equally old.
    """

    def build(self, input_shape: Any) -> None:
        """Creates the weights, for states `input_shape[-1]` wide."""
        ages = np.log1p(np.arange(MAX_LENGTH))[:, np.newaxis]
        self.recency = self.add_weight(
            name="recency",
            shape=[MAX_LENGTH, len(DECAYS)],
            initializer=tf.keras.initializers.Constant(-ages * DECAYS),
        )
        self.content = self.add_weight(
            name="content",
            shape=[tf.TensorShape(input_shape)[-1], len(DECAYS)],
            initializer="zeros",
        )
        super().build(input_shape)

    def call(self, states: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Returns the means of all heads, `[batch, heads * dim]`: see `masked_mean`."""
        following = tf.cumsum(
            tf.cast(mask, tf.int32), axis=1, reverse=True, exclusive=True
        )
        recency = tf.gather(self.recency, tf.minimum(following, MAX_LENGTH - 1))
        logits = tf.cast(recency, states.dtype) + tf.einsum(
            "bld,dh->blh", states, tf.cast(self.content, states.dtype)
        )
        real = mask[..., tf.newaxis]
        # Selected, not added: in float16 the sum with the minimum would overflow. The
        # product sets the equal weights of a row without items to zero.
        weights = tf.nn.softmax(tf.where(real, logits, logits.dtype.min), axis=1)
        weights *= tf.cast(real, states.dtype)
        pooled = tf.matmul(weights, states, transpose_a=True)
        width = len(DECAYS) * states.shape[-1]
        return tf.reshape(pooled, [tf.shape(states)[0], width])


def _weighted_sum(states: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Sums the states of every row, each times its weight."""
    # Unlike a gather, a matrix product needs no special case for rows of length 0.
    return tf.linalg.matvec(states, weights, transpose_a=True)


POOLINGS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "last": masked_last,
    "mean": masked_mean,
}
"""The poolings without weights, by the name that an encoder takes."""
