"""Random draws: exact sizes, whatever the keys. The statistics are tested by layer."""

import itertools
from typing import Any

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from scipy import stats

from tfrs_barlow.layers.augmentation import draws

SEED = tf.constant([3, 5], tf.int64)


DRAWS = {
    "graph": tf.function(draws.random_positions),
    "xla": tf.function(draws.random_positions, jit_compile=True),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@hypothesis.given(
    # Of one number, so that there is one shape to compile for.
    lengths=st.lists(st.integers(0, 60), min_size=6, max_size=6),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
@hypothesis.settings(max_examples=30, deadline=None)
def test_as_many_positions_as_asked_for(
    draw: Any, lengths: list[int], share: float, seed: int
) -> None:
    counts = [round(share * length) for length in lengths]
    drawn = draw(
        tf.constant(counts),
        tf.constant(lengths),
        tf.constant(60),
        tf.constant([seed, 1], tf.int64),
    ).numpy()
    assert drawn.sum(axis=1).tolist() == counts
    for row, length in zip(drawn, lengths, strict=True):
        assert not row[length:].any()


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_the_smallest_are_those_that_sorting_gives(
    jit_compile: bool, rate: float
) -> None:
    lengths = np.random.default_rng(0).integers(0, 41, 300)
    counts = np.floor(rate * lengths).astype(np.int32)
    keys = draws.random_integers(tf.constant(300), tf.constant(40), SEED).numpy()
    keys[np.arange(40) >= lengths[:, np.newaxis]] = draws.KEY_SPAN
    smallest = tf.function(draws.smallest_mask, jit_compile=jit_compile)
    drawn = smallest(tf.constant(keys), tf.constant(counts), tf.constant(lengths))
    ranks = keys.argsort(axis=1, kind="stable").argsort(axis=1)
    np.testing.assert_array_equal(drawn, ranks < counts[:, np.newaxis])


def test_integers_of_a_row_are_different() -> None:
    keys = draws.random_integers(tf.constant(3), tf.constant(100_000), SEED).numpy()
    assert keys.min() >= 0
    assert keys.max() < draws.KEY_SPAN
    for row in keys:
        assert len(np.unique(row)) == len(row)


def test_integers_depend_neither_on_the_width_nor_on_other_rows() -> None:
    keys = draws.random_integers(tf.constant(9), tf.constant(20), SEED).numpy()
    fewer = draws.random_integers(tf.constant(4), tf.constant(7), SEED).numpy()
    np.testing.assert_array_equal(fewer, keys[:4, :7])


@pytest.mark.parametrize(
    ("first", "second", "shift"),
    [
        # The first and the last bits of one number, of neighbors in a row, of numbers
        # further apart there, and of two rows.
        (26, 0, (0, 0)),
        *itertools.product((26, 0), (26, 0), [(0, 1), (0, 4), (1, 0)]),
    ],
)
def test_integers_are_uniform_and_independent(
    first: int, second: int, shift: tuple[int, int]
) -> None:
    keys = draws.random_integers(tf.constant(20_000), tf.constant(30), SEED).numpy()
    others = np.roll(keys, shift, axis=(0, 1))
    pairs = 16 * (keys >> first & 15) + (others >> second & 15)
    observed = np.bincount(pairs.ravel(), minlength=256)
    expected = keys.size / 256
    chi_square = ((observed - expected) ** 2 / expected).sum()
    # Of 255 degrees of freedom: mean 255, standard deviation 22.6.
    assert 150 < chi_square < 360


@pytest.mark.parametrize("choices", [2, 7, 10])
@pytest.mark.parametrize("below", [draws.KEY_SPAN, 2**22 + 12_345])
def test_choices_are_uniform_of_any_random_integers(choices: int, below: int) -> None:
    integers = np.random.default_rng(0).integers(0, below, 100_000).astype(np.int32)
    chosen = draws.spread_choices(tf.constant(integers), tf.constant(choices), 10)
    counts = np.bincount(chosen, minlength=choices)
    assert len(counts) == choices
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("most", [1, 255, 256, 65_535])
def test_choices_are_below_their_number(most: int) -> None:
    integers = tf.constant([0, 1, 2**15, draws.KEY_SPAN - 1, draws.KEY_SPAN])
    for choices in (1, most // 2 + 1, most):
        chosen = draws.spread_choices(integers, choices, most).numpy()
        assert ((chosen >= 0) & (chosen < choices)).all()


def test_orders_are_permutations_of_their_count() -> None:
    counts = tf.constant([0, 1, 5, 8])
    orders = draws.random_orders(counts, tf.constant(8), SEED).numpy()
    for count, order in zip(counts.numpy(), orders, strict=True):
        assert sorted(order[:count]) == list(range(count))
        assert order[count:].tolist() == list(range(count, 8))


def test_no_count_exceeds_the_bound() -> None:
    for rate in (0.0, 0.3, 0.5, 1.0):
        for length in range(12):
            counts = draws.random_counts(rate, tf.fill([500], length), SEED)
            assert np.max(counts) <= draws.max_counts(rate, tf.constant(length))
