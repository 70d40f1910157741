"""Ranks, inverse permutations and running counts against NumPy."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.layers.augmentation import row_ops

RANKS = {
    "eager": row_ops.ranks,
    "graph": tf.function(row_ops.ranks),
    "xla": tf.function(row_ops.ranks, jit_compile=True),
}


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("ranks", RANKS.values(), ids=RANKS)
def test_ranks_are_those_of_a_stable_sort(ranks: Any, dtype: type) -> None:
    # So few different ones that many are equal, and some at the ends of their range.
    keys = np.random.default_rng(0).integers(-3, 4, [50, 9]).astype(dtype)
    keys[0, :4] = 2**30, -(2**30), 2**30, -(2**30)
    order = np.argsort(-keys, axis=1, kind="stable")
    stable = np.argsort(order, axis=1)
    np.testing.assert_array_equal(ranks(tf.constant(keys)), stable)
    np.testing.assert_array_equal(ranks(tf.constant(keys[:1])), stable[:1])


def test_inverse_permutations() -> None:
    random = np.random.default_rng(0)
    permutations = random.permuted(np.tile(np.arange(7), [20, 1]), axis=1)
    inverse = row_ops.inverse_permutations(tf.constant(permutations, tf.int32))
    np.testing.assert_array_equal(inverse, np.argsort(permutations, axis=1))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_arrivals(jit_compile: bool) -> None:
    arrivals = tf.function(row_ops.arrivals, jit_compile=jit_compile)
    places = tf.constant([[0, 2, -1], [3, 4, 9], [2, 1, 0]])
    four, two, seven = map(tf.constant, (4, 2, 7))
    assert arrivals(places, four, seven).numpy().tolist() == [
        [7, 0, 8, 0],
        [0, 0, 0, 7],
        [9, 8, 7, 0],
    ]
    assert arrivals(places[:0], four, seven).shape == [0, 4]
    assert arrivals(places[:, :0], two, seven).numpy().tolist() == [[0, 0]] * 3


@pytest.mark.parametrize(
    "shape", [(0, 3), (3, 0), (1, 1), (5, 128), (0, 200), (5, 200), (5, 256), (9, 203)]
)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_running_counts(shape: tuple[int, int], jit_compile: bool) -> None:
    where = np.random.default_rng(0).random(shape) < 0.7
    count = tf.function(row_ops.running_counts, jit_compile=jit_compile)
    counts = count(tf.constant(where))
    assert counts.dtype == tf.int32
    np.testing.assert_array_equal(counts, where.cumsum(axis=1))


def test_running_counts_of_rows_of_any_length() -> None:
    where = np.random.default_rng(0).random([5, 300]) < 0.7
    count = tf.function(
        row_ops.running_counts, input_signature=[tf.TensorSpec([None, None], tf.bool)]
    )
    for length in (0, 1, 32, 200, 300):
        counts = count(tf.constant(where[:, :length]))
        np.testing.assert_array_equal(counts, where[:, :length].cumsum(axis=1))
