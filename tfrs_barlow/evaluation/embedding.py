"""Embeds the users of a data set with a trained encoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.data import UserSequences


def embed_users(
    encoder: Callable[..., tf.Tensor],
    sequences: UserSequences,
    *,
    length: int,
    batch_size: int = 512,
) -> npt.NDArray[np.float32]:
    """Returns the embedding of every user's most recent items.

    Args:
        encoder: From item ids `[batch, length]` to embeddings `[batch, dim]`; a layer
            is called with `training=False`.
        sequences: The users.
        length: How many items of each to read.
        batch_size: How many users to embed at a time.

    Returns:
        `[users, dim]`, float32.

    Raises:
        TypeError, ValueError: If a number is not an integer of at least 1.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> encoder = tfrsb.layers.ItemPoolingEncoder(vocabulary.size, output_dim=4)
        >>> tfrsb.evaluation.embed_users(encoder, sequences, length=10).shape
        (20, 4)
    """
    _checks.instance("sequences", sequences, UserSequences)
    length = _checks.integer("length", length, at_least=1)
    batch_size = _checks.integer("batch_size", batch_size, at_least=1)
    histories = tf.constant(sequences.to_dense(length))
    batches = [
        encoder(histories[start : start + batch_size], training=False)
        for start in range(0, max(len(sequences), 1), batch_size)
    ]
    return tf.cast(tf.concat(batches, axis=0), tf.float32).numpy()
