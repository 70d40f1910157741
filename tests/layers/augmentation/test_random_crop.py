"""`RandomCrop`: how much it keeps, and which stretch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.layers.augmentation.histories import are_equally_likely, many
from tfrs_barlow.layers import RandomCrop


@pytest.mark.parametrize("length", [2, 3, 10])
def test_keeps_its_rate_of_every_length(length: int) -> None:
    lengths = (many(length, RandomCrop(0.6)) != 0).sum(axis=1)
    assert lengths.mean() / length == pytest.approx(0.6, abs=0.005)


def test_keeps_one_stretch_that_starts_anywhere() -> None:
    crops = many(10, RandomCrop(0.6))[:, :6]
    np.testing.assert_array_equal(np.diff(crops), 1)
    # The last of the five starts keeps the most recent item: other libraries never do.
    assert are_equally_likely(np.bincount(crops[:, 0] - 3, minlength=5))


def test_keeps_the_suffix_and_a_stretch_before_it() -> None:
    crops = many(10, RandomCrop(0.6, keep_suffix=2))[:, :6]
    assert (crops[:, 4:] == [11, 12]).all()
    np.testing.assert_array_equal(np.diff(crops[:, :4]), 1)
    assert are_equally_likely(np.bincount(crops[:, 0] - 3, minlength=5))


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_the_suffix_stays_within_the_rate(length: int) -> None:
    views = many(length, RandomCrop(0.6, keep_suffix=9))
    lengths = (views != 0).sum(axis=1)
    assert lengths.mean() == pytest.approx(max(0.6 * length, 1), abs=0.02)
    assert (views.max(axis=1) == 2 + length).all()


def test_never_empties_a_sequence() -> None:
    assert ((many(3, RandomCrop(0.0)) != 0).sum(axis=1) == 1).all()
