"""`RandomDrop`: how much it removes, and which items."""

from __future__ import annotations

import numpy as np
import pytest

from tests.layers.augmentation.histories import are_equally_likely, many
from tfrs_barlow.layers import RandomDrop


@pytest.mark.parametrize("length", [2, 3, 10])
def test_removes_its_rate_of_every_length(length: int) -> None:
    lengths = (many(length, RandomDrop(0.3)) != 0).sum(axis=1)
    assert 1 - lengths.mean() / length == pytest.approx(0.3, abs=0.005)


def test_keeps_the_order_and_removes_any_position() -> None:
    views = many(6, RandomDrop(0.5))
    assert (np.diff(views[:, :3]) > 0).all()
    assert are_equally_likely(np.bincount(views[:, :3].ravel(), minlength=9)[3:])


def test_one_item_stays() -> None:
    assert ((many(5, RandomDrop(1.0)) != 0).sum(axis=1) == 1).all()
