"""Embedding users: in batches, of their most recent items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.data import UserSequences
from tfrs_barlow.evaluation import embed_users

USERS = UserSequences.from_lists({"ann": [5, 3, 4], "bob": [9], "eve": [7, 8]})


def sums(histories: tf.Tensor, *, training: bool) -> tf.Tensor:
    """An encoder whose embedding can be worked out by hand."""
    assert not training
    return tf.cast(tf.reduce_sum(histories, axis=1, keepdims=True), tf.float16)


@pytest.mark.parametrize("batch_size", [1, 2, 512])
def test_the_most_recent_items_of_every_user_are_read(batch_size: int) -> None:
    embeddings = embed_users(sums, USERS, length=2, batch_size=batch_size)
    np.testing.assert_array_equal(embeddings, [[7], [9], [15]])
    assert embeddings.dtype == np.float32


def test_nobody_has_embeddings_of_the_same_width() -> None:
    nobody = USERS.select(np.array([], np.int64))
    assert embed_users(sums, nobody, length=2).shape == (0, 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sequences": "users"}, TypeError, "sequences must be a UserSequences"),
        ({"length": 0}, ValueError, "length must be"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be"),
    ],
)
def test_what_is_wrong_is_named(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {"sequences": USERS, "length": 2, **change}
    with pytest.raises(error, match=message):
        embed_users(sums, **arguments)
