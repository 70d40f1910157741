"""`RandomMask` and `SegmentMask`: how much they hide, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.augmentation.histories import are_equally_likely, many, padded
from tfrs_barlow.ids import MASK_ID
from tfrs_barlow.layers import RandomMask, SegmentMask


@pytest.mark.parametrize("length", [2, 3, 10])
def test_hides_its_rate_of_every_length(length: int) -> None:
    hidden = many(length, RandomMask(0.3)) == MASK_ID
    assert hidden.sum(axis=1).min() >= int(0.3 * length)
    assert hidden.sum(axis=1).max() <= int(0.3 * length) + 1
    assert hidden.mean() == pytest.approx(0.3, abs=0.005)


def test_every_position_is_equally_likely() -> None:
    hidden = many(6, RandomMask(0.5)) == MASK_ID
    assert are_equally_likely(hidden.sum(axis=0))
    # And so is every set of three positions.
    sets = np.unique(hidden, axis=0, return_counts=True)[1]
    assert len(sets) == 20
    assert are_equally_likely(sets)


def test_one_item_stays_visible() -> None:
    assert (many(5, RandomMask(1.0)) != MASK_ID).sum(axis=1).tolist() == [1] * 20000
    assert many(1, RandomMask(0.9)).tolist() == [[3]] * 20000


def test_hides_the_columns_of_mask_values() -> None:
    columns = {"item_id": padded([[3, 4, 5, 6]]), "genre": padded([[7, 7, 7, 7]])}
    mask = RandomMask(0.5, mask_values={"item_id": MASK_ID, "genre": -1})
    view = mask(columns, training=True)
    np.testing.assert_array_equal(
        view["genre"].numpy() == -1, view["item_id"].numpy() == MASK_ID
    )
    assert (view["genre"].numpy() == -1).sum() == 2


@pytest.mark.parametrize(
    "value", [b"?", np.array("?"), tf.constant("?"), np.array(["?", "?"])]
)
def test_mask_values_are_saved(value: Any) -> None:
    titles = tf.constant([[["a", "b"], ["c", "d"]]])
    columns = {"item_id": padded([[3, 4]]), "titles": titles}
    mask = RandomMask(0.5, mask_values={"titles": value}, seed=1)
    same = tf.keras.layers.deserialize(tf.keras.layers.serialize(mask))
    view = mask(columns, training=True)["titles"].numpy()
    np.testing.assert_array_equal(same(columns, training=True)["titles"], view)
    assert (view == b"?").sum() == 2


def test_bad_mask_values_are_named() -> None:
    with pytest.raises(TypeError, match=r"mask_values must be a dict.*'genre'"):
        RandomMask(0.5, mask_values="genre")
    with pytest.raises(ValueError, match=r"mask_values.*\['genre'\]"):
        RandomMask(0.5, mask_values={"genre": 0})(padded([[3, 4]]), training=True)


def test_a_segment_is_one_stretch_that_starts_anywhere() -> None:
    hidden = many(10, SegmentMask(0.4)) == MASK_ID
    assert (hidden.sum(axis=1) == 4).all()
    starts = hidden.argmax(axis=1)
    for row, start in zip(hidden[:100], starts, strict=False):
        assert row[start : start + 4].all()
    assert are_equally_likely(np.bincount(starts, minlength=7))
