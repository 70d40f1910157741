"""Layers: augmentations that make views, encoders that embed them, the projector."""

from tfrs_barlow.layers.augmentation.base import SequenceAugmentation
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
from tfrs_barlow.layers.augmentation.time_intervals import (
    TimeIntervalCrop,
    TimeIntervalInsert,
    TimeIntervalMask,
    TimeIntervalReorder,
    TimeIntervalSubstitute,
)
from tfrs_barlow.layers.augmentation.two_views import TwoViews
from tfrs_barlow.layers.encoders.base import SequenceEncoder
from tfrs_barlow.layers.encoders.convolution import ConvolutionEncoder
from tfrs_barlow.layers.encoders.gru import GRUEncoder
from tfrs_barlow.layers.encoders.hashed_embedding import HashedEmbedding
from tfrs_barlow.layers.encoders.item_pooling import ItemPoolingEncoder
from tfrs_barlow.layers.encoders.transformer import TransformerEncoder
from tfrs_barlow.layers.projector import Projector

__all__ = [
    "ByLength",
    "ConvolutionEncoder",
    "GRUEncoder",
    "HashedEmbedding",
    "ItemPoolingEncoder",
    "Projector",
    "RandomChoice",
    "RandomCrop",
    "RandomDrop",
    "RandomInsert",
    "RandomMask",
    "RandomReorder",
    "RandomSubstitute",
    "SegmentMask",
    "SequenceAugmentation",
    "SequenceEncoder",
    "Sequential",
    "SwapNoise",
    "TimeIntervalCrop",
    "TimeIntervalInsert",
    "TimeIntervalMask",
    "TimeIntervalReorder",
    "TimeIntervalSubstitute",
    "TransformerEncoder",
    "TwoViews",
    "preset_views",
]
