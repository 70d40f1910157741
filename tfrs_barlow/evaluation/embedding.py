"""Embeds the users of a data set with a trained encoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data.sequences import UserSequences


def embed_users(
    encoder: Callable[..., tf.Tensor],
    sequences: UserSequences,
    *,
    length: int,
    batch_size: int = 512,
) -> npt.NDArray[np.float32]:
    """Returns the embedding of every user's most recent items.

    Example:
        >>> sequences = tfrsb.data.UserSequences(
        ...     user_ids=np.array(["ann", "bob"]),
        ...     item_ids=np.array([5, 3, 4, 9], np.int32),
        ...     timestamps=np.array([10, 20, 30, 15]),
        ...     row_splits=np.array([0, 3, 4]),
        ... )
        >>> encoder = tfrsb.layers.ItemPoolingEncoder(
        ...     vocabulary_size=10, output_dim=4, pooling="mean"
        ... )
        >>> tfrsb.evaluation.embed_users(encoder, sequences, length=2).shape
        (2, 4)

    Args:
        encoder: From item ids `[batch, length]` to embeddings `[batch, dim]`; a layer
            is called with `training=False`.
        sequences: The users.
        length: How many items of each to read.
        batch_size: How many users to embed at a time.

    Returns:
        `[users, dim]`, float32.
    """
    histories = tf.constant(sequences.to_dense(length))
    batches = [
        encoder(histories[start : start + batch_size], training=False)
        for start in range(0, max(len(sequences), 1), batch_size)
    ]
    return tf.cast(tf.concat(batches, axis=0), tf.float32).numpy()
