"""`RandomReorder`: which stretch it shuffles, and how."""

from __future__ import annotations

import numpy as np
import pytest

from tests.layers.augmentation.histories import are_equally_likely, many
from tfrs_barlow.layers import RandomReorder


def test_all_permutations_are_equally_likely() -> None:
    orders = many(4, RandomReorder(1.0))
    permutations, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(permutations) == 24
    assert are_equally_likely(counts)


def test_leaves_the_rest_in_place() -> None:
    orders = many(10, RandomReorder(0.3))
    moved = orders != np.arange(3, 13)
    first = moved.argmax(axis=1)
    last = 9 - moved[:, ::-1].argmax(axis=1)
    assert (last - first)[moved.any(axis=1)].max() <= 2


@pytest.mark.parametrize("length", [2, 3, 5])
def test_changes_short_sequences_too(length: int) -> None:
    """By default other libraries leave sequences of fewer than 10 items unchanged."""
    changed = (many(length, RandomReorder(0.2)) != np.arange(3, 3 + length)).any(1)
    assert changed.mean() == pytest.approx(0.5, abs=0.02)


def test_rate_zero_is_the_identity() -> None:
    assert (many(5, RandomReorder(0.0)) == np.arange(3, 8)).all()
