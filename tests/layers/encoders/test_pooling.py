"""The poolings, by hand."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.layers.encoders.pooling import (
    DECAYS,
    MAX_LENGTH,
    POOLINGS,
    AttentionPooling,
    masked_last,
    masked_mean,
)

STATES = tf.constant([[[1.0, 2.0], [3.0, 4.0], [8.0, 9.0]]] * 4)
MASK = tf.constant(
    [[True, True, True], [True, True, False], [False, True, False], [False] * 3]
)


def test_mean_is_over_the_real_states_only() -> None:
    expected = [[4, 5], [2, 3], [3, 4], [0, 0]]
    np.testing.assert_allclose(masked_mean(STATES, MASK), expected, rtol=1e-6)


def test_last_is_the_last_real_state() -> None:
    expected = [[8, 9], [3, 4], [3, 4], [0, 0]]
    np.testing.assert_array_equal(masked_last(STATES, MASK), expected)


def test_attention_begins_with_means_of_different_horizons() -> None:
    """A state that r others follow has the weight (1 + r) ** -decay."""
    pooled = AttentionPooling()(STATES, MASK)
    assert DECAYS == (0, 1, 3)
    # The row of three states: 1/3 each; 2/11, 3/11, 6/11; 8/251, 27/251, 216/251.
    full = [4, 5, (2 * 1 + 3 * 3 + 6 * 8) / 11, (2 * 2 + 3 * 4 + 6 * 9) / 11]
    full += [(8 * 1 + 27 * 3 + 216 * 8) / 251, (8 * 2 + 27 * 4 + 216 * 9) / 251]
    np.testing.assert_allclose(pooled[0], full, rtol=1e-5)
    # Padding does not follow anything.
    np.testing.assert_allclose(pooled[1, 2:4], [7 / 3, 10 / 3], rtol=1e-5)
    np.testing.assert_allclose(pooled[2], [3, 4] * 3, rtol=1e-6)
    np.testing.assert_array_equal(pooled[3], np.zeros(6))


def test_attention_learns_to_weigh_by_content() -> None:
    pool = AttentionPooling()
    pool.build([None, None, 2])
    pool.recency.assign(tf.zeros_like(pool.recency))
    pool.content.assign([[0.0, 0.0, 0.0], [0.0, 1.0, -100.0]])
    weights = np.exp([2, 4, 9]) / np.exp([2, 4, 9]).sum()
    expected = [4, 5, *(weights @ STATES[0].numpy()), 1, 2]
    np.testing.assert_allclose(pool(STATES, MASK)[0], expected, rtol=1e-5)


def test_attention_counts_all_old_items_as_equally_old() -> None:
    states = tf.reshape(tf.range(2.0 * MAX_LENGTH), [1, -1, 1])
    mask = tf.ones([1, 2 * MAX_LENGTH], tf.bool)
    with tf.GradientTape() as tape:
        tape.watch(states)
        second_head = AttentionPooling()(states, mask)[0, 1]
    weights = tape.gradient(second_head, states)[0, :, 0].numpy()
    np.testing.assert_allclose(weights[:MAX_LENGTH], weights[0], rtol=1e-5)
    assert (np.diff(weights[MAX_LENGTH:]) > 0).all()


@pytest.mark.parametrize("pool", POOLINGS.values(), ids=POOLINGS)
class TestEveryPooling:
    def test_length_zero_gives_zeros(self, pool: Any) -> None:
        pooled = pool(tf.zeros([2, 0, 3]), tf.zeros([2, 0], tf.bool))
        np.testing.assert_array_equal(pooled, np.zeros([2, 3]))

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    def test_keeps_the_dtype(self, pool: Any, dtype: str) -> None:
        assert pool(tf.cast(STATES, dtype), MASK).dtype == dtype

    def test_gradient_reaches_real_states_only(self, pool: Any) -> None:
        with tf.GradientTape() as tape:
            tape.watch(STATES)
            total = tf.reduce_sum(pool(STATES, MASK))
        gradient = tape.gradient(total, STATES).numpy()
        assert np.isfinite(gradient).all()
        assert not gradient[~MASK.numpy()].any()
        # The weights of a row add up to one, or to nothing in an empty row.
        np.testing.assert_allclose(gradient.sum(axis=1)[:, 0], [1, 1, 1, 0], rtol=1e-6)


def test_mean_of_many_large_float16_states_does_not_overflow() -> None:
    states = tf.fill([1, 1000, 1], tf.constant(60000, tf.float16))
    mean = masked_mean(states, tf.ones([1, 1000], tf.bool))
    np.testing.assert_allclose(tf.cast(mean, tf.float32), [[60000]], rtol=1e-2)
