"""`SwapNoise`: which items of the batch come in, and with which columns."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.augmentation.histories import (
    SEED,
    are_equally_likely,
    padded,
    ragged,
)
from tfrs_barlow.layers import SwapNoise

ROWS = ([3, 4, 5, 6], [], [7], [8, 9, 10, 11, 12])


def test_swaps_its_rate_for_items_of_the_batch() -> None:
    inputs = tf.range(3, 3 + 200_000)[:, tf.newaxis] + tf.zeros([1, 2], tf.int32)
    view = SwapNoise(0.3)(inputs, training=True, seed=SEED).numpy()
    swapped = view != inputs.numpy()
    assert swapped.mean() == pytest.approx(0.3, abs=0.005)
    assert view.min() >= 3
    assert view.max() < 3 + 200_000


def test_every_item_of_the_batch_is_equally_likely() -> None:
    inputs, noise = ragged(ROWS), SwapNoise(1.0, seed=1)
    counts = np.zeros(13, int)
    for _ in range(300):
        view = noise(inputs, training=True)
        assert view.row_lengths().numpy().tolist() == [4, 0, 1, 5]
        counts += np.bincount(view.flat_values, minlength=13)
    assert are_equally_likely(counts[3:])


def test_an_item_brings_its_columns_but_for_the_fixed_ones() -> None:
    ids = padded(ROWS)
    columns = {"item_id": ids, "category": ids * 10, "time": ids * 100}
    noise = SwapNoise(1.0, fixed_columns=["time"])
    same = tf.keras.layers.deserialize(tf.keras.layers.serialize(noise))
    for layer in (noise, same):
        view = layer(columns, training=True, seed=SEED)
        assert not np.array_equal(view["item_id"], ids)
        np.testing.assert_array_equal(view["category"], view["item_id"] * 10)
        np.testing.assert_array_equal(view["time"], ids * 100)


def test_bad_fixed_columns_are_named() -> None:
    with pytest.raises(ValueError, match=r"fixed_columns.*\['tiem'\]"):
        SwapNoise(0.5, fixed_columns=["tiem"])(padded([[3, 4]]), training=True)
    for wrong in ("time", 3, None, [3]):
        with pytest.raises(TypeError, match=r"fixed_columns must be.*"):
            SwapNoise(0.5, fixed_columns=wrong)
