"""The augmentations for which the contract holds, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from tests.layers.augmentation.histories import GENRES, NEIGHBORS, START, history
from tfrs_barlow.layers import (
    ByLength,
    RandomChoice,
    RandomCrop,
    RandomDrop,
    RandomInsert,
    RandomMask,
    RandomReorder,
    RandomSubstitute,
    SegmentMask,
    Sequential,
    SwapNoise,
    TimeIntervalCrop,
    TimeIntervalInsert,
    TimeIntervalMask,
    TimeIntervalReorder,
    TimeIntervalSubstitute,
)

SIMILAR = {"neighbors": NEIGHBORS, "item_tables": GENRES}
LAYERS: dict[str, Callable[..., tf.keras.layers.Layer]] = {
    "random_mask": lambda **settings: RandomMask(0.4, **settings),
    "segment_mask": lambda **settings: SegmentMask(0.4, **settings),
    "random_crop": lambda **settings: RandomCrop(0.6, **settings),
    "random_crop_with_suffix": lambda **settings: RandomCrop(
        0.6, keep_suffix=2, **settings
    ),
    "random_drop": lambda **settings: RandomDrop(0.4, **settings),
    "random_reorder": lambda **settings: RandomReorder(0.5, **settings),
    "swap_noise": lambda **settings: SwapNoise(0.4, **settings),
    "random_substitute": lambda **settings: RandomSubstitute(
        0.4, **SIMILAR, **settings
    ),
    "random_insert": lambda **settings: RandomInsert(0.4, **SIMILAR, **settings),
    "sequential": lambda **settings: Sequential(
        [RandomCrop(0.6), SegmentMask(0.3)], **settings
    ),
    "random_choice": lambda **settings: RandomChoice(
        [RandomCrop(0.6), SegmentMask(0.3)], **settings
    ),
    "by_length": lambda **settings: ByLength(
        3, short=SegmentMask(0.5), long=RandomCrop(0.5), **settings
    ),
    "time_interval_crop": lambda **settings: TimeIntervalCrop(0.7, **settings),
    "time_interval_reorder": lambda **settings: TimeIntervalReorder(0.4, **settings),
    "time_interval_mask": lambda prefer="minimum", **settings: TimeIntervalMask(
        0.5, prefer=prefer, **settings
    ),
    "time_interval_substitute": lambda **settings: TimeIntervalSubstitute(
        0.4, **SIMILAR, **settings
    ),
    "time_interval_insert": lambda **settings: TimeIntervalInsert(
        0.5, **SIMILAR, **settings
    ),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def equal_gaps(*lengths: int) -> dict[str, Any]:
    """Histories in which time passes evenly, so that all choices by time are ties."""
    return history(*(list(range(START, START + length)) for length in lengths))
