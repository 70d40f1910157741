"""A history becomes its last items, oldest first, padded on the right."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrs_barlow.serving.requests import most_recent

histories = hnp.arrays(
    np.int32,
    st.tuples(st.integers(0, 4), st.integers(0, 9)),
    elements=st.integers(0, 6),
)


def expected(ids: np.ndarray, max_length: int) -> np.ndarray:
    rows = np.zeros((len(ids), max_length), np.int32)
    for row, history in zip(rows, ids, strict=True):
        items = history[history != 0][-max_length:]
        row[: len(items)] = items
    return rows


@settings(deadline=None)
@given(histories, st.integers(1, 12))
def test_the_last_items_are_kept_in_order(ids: np.ndarray, max_length: int) -> None:
    result = most_recent(tf.constant(ids), max_length)
    np.testing.assert_array_equal(result, expected(ids, max_length), strict=True)


@settings(deadline=None)
@given(histories, st.integers(1, 5))
def test_padding_may_stand_anywhere(ids: np.ndarray, zeros: int) -> None:
    padded = np.insert(ids, [0] * zeros + [ids.shape[1]] * zeros, 0, axis=1)
    np.testing.assert_array_equal(
        most_recent(tf.constant(padded), 6), most_recent(tf.constant(ids), 6)
    )


@pytest.mark.parametrize("shape", [(2, 0), (2, 5), (0, 5), (0, 0)])
def test_an_empty_history_is_a_row_of_padding(shape: tuple[int, int]) -> None:
    result = most_recent(tf.zeros(shape, tf.int32), 3)
    np.testing.assert_array_equal(result, np.zeros((shape[0], 3)))
