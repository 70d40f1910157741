"""Embeds histories with an encoder in training, without changing it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data import UserSequences
from tfrs_barlow.evaluation import embed_users


def checked_encoder(encoder: Any) -> Any:
    """Returns an encoder to evaluate, or None: a layer, also one of Keras 3."""
    if encoder is not None and not hasattr(encoder, "non_trainable_variables"):
        raise TypeError(f"encoder must be a layer, but it is {encoder!r}.")
    return encoder


def encoder_of(model: tf.keras.Model) -> tf.keras.layers.Layer:
    """Returns the `query_tower` of a model."""
    if not hasattr(model, "query_tower"):
        raise ValueError(
            f"encoder must be given, since {type(model).__name__} has no query_tower."
        )
    return model.query_tower


class FrozenEncoder:
    """An encoder as it is at this moment, without a copy of its weights.

    It is called in inference mode, in a separate graph whose random operations do not
    change the random state of eager mode. What a call changes nevertheless, such as a
    counter, is restored. The encoder maps item ids `[batch, length]` to embeddings
    `[batch, dim]`.
    """

    def __init__(self, encoder: tf.keras.layers.Layer, *, length: int) -> None:
        self._encoder = encoder
        self._length = length
        self._graph = tf.function(
            lambda ids: encoder(ids, training=False),
            input_signature=[tf.TensorSpec([None, length], tf.int32)],
        )

    def embed(
        self, sequences: UserSequences, batch_size: int = 512
    ) -> npt.NDArray[np.float32]:
        """Returns the embedding of every user, `[users, dim]`, which must be finite."""
        state = self._encoder.non_trainable_variables
        values = [variable.numpy() for variable in state]
        embeddings = embed_users(
            self._call, sequences, length=self._length, batch_size=batch_size
        )
        for variable, value in zip(state, values, strict=True):
            # Only changed variables: an assignment would make different replicas equal.
            if not np.array_equal(variable.numpy(), value, equal_nan=True):
                variable.assign(value)
        if not np.isfinite(embeddings).all():
            raise ValueError(
                "The embeddings of the encoder must be finite, but some are not: "
                "training has diverged."
            )
        return embeddings

    def _call(self, ids: tf.Tensor, training: Any) -> tf.Tensor:
        del training  # The graph is in inference mode.
        return self._graph(ids)
