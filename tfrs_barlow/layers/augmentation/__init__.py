"""Augmentations: the random changes that make two views of one sequence."""

from tfrs_barlow.layers.augmentation.augmentation import SequenceAugmentation
from tfrs_barlow.layers.augmentation.composition import (
    ByLength,
    RandomChoice,
    Sequential,
)
from tfrs_barlow.layers.augmentation.presets import preset_views
from tfrs_barlow.layers.augmentation.random_crop import RandomCrop
from tfrs_barlow.layers.augmentation.random_drop import RandomDrop
from tfrs_barlow.layers.augmentation.random_mask import RandomMask, SegmentMask
from tfrs_barlow.layers.augmentation.random_reorder import RandomReorder
from tfrs_barlow.layers.augmentation.similar_items import (
    RandomInsert,
    RandomSubstitute,
)
from tfrs_barlow.layers.augmentation.swap_noise import SwapNoise
from tfrs_barlow.layers.augmentation.time_interval_items import (
    TimeIntervalInsert,
    TimeIntervalMask,
    TimeIntervalSubstitute,
)
from tfrs_barlow.layers.augmentation.time_interval_windows import (
    TimeIntervalCrop,
    TimeIntervalReorder,
)
from tfrs_barlow.layers.augmentation.two_views import TwoViews

__all__ = [
    "ByLength",
    "RandomChoice",
    "RandomCrop",
    "RandomDrop",
    "RandomInsert",
    "RandomMask",
    "RandomReorder",
    "RandomSubstitute",
    "SegmentMask",
    "SequenceAugmentation",
    "Sequential",
    "SwapNoise",
    "TimeIntervalCrop",
    "TimeIntervalInsert",
    "TimeIntervalMask",
    "TimeIntervalReorder",
    "TimeIntervalSubstitute",
    "TwoViews",
    "preset_views",
]
