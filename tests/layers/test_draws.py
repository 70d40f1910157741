"""Random draws: exact sizes, whatever the keys. The statistics are tested by layer."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

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
def test_as_many_positions_as_asked_for(draw, lengths, share, seed):
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


@pytest.mark.parametrize(
    ("keys", "count", "expected"),
    [
        ([5, 5, 5, 5], 2, [1, 1, 0, 0]),
        ([9, 5, 5, 1], 2, [0, 1, 0, 1]),
        ([9, 5, 5, 1], 3, [0, 1, 1, 1]),
        ([0, 0, 0, 1], 1, [1, 0, 0, 0]),
        ([draws.KEY_SPAN - 1] * 4, 3, [1, 1, 1, 0]),
        ([draws.KEY_SPAN - 1, 0, draws.KEY_SPAN - 1, 0], 0, [0, 0, 0, 0]),
        ([draws.KEY_SPAN - 1, 0, draws.KEY_SPAN - 1, 0], 4, [1, 1, 1, 1]),
    ],
)
def test_equal_keys_are_told_apart_by_position(keys, count, expected):
    others = [7, 3, draws.KEY_SPAN, draws.KEY_SPAN]
    drawn = draws._smallest(
        tf.constant([keys, others]), tf.constant([count, 1]), tf.constant([4, 2])
    )
    assert drawn.numpy().astype(int).tolist() == [expected, [0, 1, 0, 0]]


def test_orders_are_permutations_of_their_count():
    counts = tf.constant([0, 1, 5, 8])
    orders = draws.random_orders(counts, tf.constant(8), SEED).numpy()
    for count, order in zip(counts.numpy(), orders, strict=True):
        assert sorted(order[:count]) == list(range(count))
        assert order[count:].tolist() == list(range(count, 8))


def test_no_count_exceeds_the_bound():
    for rate in (0.0, 0.3, 0.5, 1.0):
        for length in range(12):
            counts = draws.random_counts(rate, tf.fill([500], length), SEED)
            assert np.max(counts) <= draws.most_counts(rate, tf.constant(length))
