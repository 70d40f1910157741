"""The Transformer encoder, bidirectional and causal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.layers import TransformerEncoder


def make(**kwargs: Any) -> TransformerEncoder:
    """Returns an encoder with random weights."""
    encoder = TransformerEncoder(13, embedding_dim=8, output_dim=6, **kwargs)
    encoder.build([None, None])
    generator = np.random.default_rng(0)
    for weight in encoder.weights:
        weight.assign(generator.normal(scale=0.4, size=weight.shape))
    return encoder


@pytest.mark.parametrize("causal", [False, True])
def test_causal_states_do_not_see_later_items(causal: bool) -> None:
    encoder = make(causal=causal)
    mask = tf.ones([1, 4], tf.bool)
    states, changed = (
        encoder.encode(encoder.item_embedding(tf.constant([ids])), mask, False)
        for ids in ([5, 7, 9, 4], [5, 7, 9, 11])
    )
    assert not np.allclose(states[:, 3], changed[:, 3], atol=1e-3)
    assert np.allclose(states[:, :3], changed[:, :3], atol=1e-6) == causal


def test_default_pooling_follows_causality() -> None:
    assert TransformerEncoder().pooling == "mean"
    assert TransformerEncoder(causal=True).pooling == "last"
    assert TransformerEncoder(causal=True, pooling="mean").pooling == "mean"


def test_positions_count_back_from_the_most_recent_item() -> None:
    encoder = make(num_layers=1, max_length=3)
    mask = tf.constant([[True] * 5, [True] * 2 + [False] * 3])
    expected = [[2, 2, 2, 1, 0], [1, 0, 0, 0, 0]]
    np.testing.assert_array_equal(encoder._positions(mask), expected)


def test_sees_order_up_to_max_length() -> None:
    encoder = make(num_layers=1, max_length=3)
    embeddings = encoder(tf.constant([[5, 7, 9, 4], [7, 5, 9, 4], [5, 9, 7, 4]]))
    # Of four items the oldest two share the third position.
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=2e-6)
    assert not np.allclose(embeddings[0], embeddings[2], atol=1e-3)


def test_attends_in_float16_to_large_negative_scores() -> None:
    encoder = make(num_layers=1, causal=True, dtype="mixed_float16")
    ids = tf.constant([[0, 0, 7, 9, 4], [5, 8, 6, 1, 2], [0] * 5])
    weights = {weight.name: weight for weight in encoder.weights}
    query, _, value = tf.split(weights["block_0/query_key_value/kernel:0"], 3, 1)
    opposite = tf.concat([9 * query, -9 * query, value], axis=1)
    weights["block_0/query_key_value/kernel:0"].assign(opposite)
    assert np.isfinite(encoder(ids)).all()


@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("num_layers", 0, "at least 1"),
        ("num_heads", 0, "at least 1"),
        ("num_heads", 5, "divide embedding_dim=64"),
        ("feed_forward_dim", 0, "at least 1"),
        ("max_length", 0, "at least 1"),
    ],
)
def test_out_of_range_arguments_are_named(
    argument: str, value: int, expected: str
) -> None:
    with pytest.raises(
        ValueError, match=f"^{argument} must .*{expected}.*it is {value}"
    ):
        TransformerEncoder(**{argument: value})
