"""Augmentations: the random changes that make two views of one sequence."""

from tfrs_barlow.layers.augmentation.augmentation import SequenceAugmentation
from tfrs_barlow.layers.augmentation.composition import (
    ByLength,
    RandomChoice,
    Sequential,
)
from tfrs_barlow.layers.augmentation.random_crop import RandomCrop
from tfrs_barlow.layers.augmentation.random_drop import RandomDrop
from tfrs_barlow.layers.augmentation.random_mask import RandomMask, SegmentMask
from tfrs_barlow.layers.augmentation.random_reorder import RandomReorder
from tfrs_barlow.layers.augmentation.similar_items import (
    RandomInsert,
    RandomSubstitute,
)
from tfrs_barlow.layers.augmentation.swap_noise import SwapNoise
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
    "TwoViews",
]
