"""Layers: augmentations that make views, encoders that embed them, the projector."""

from tfrs_barlow.layers.augmentation import (
    ByLength,
    RandomChoice,
    RandomCrop,
    RandomDrop,
    RandomInsert,
    RandomMask,
    RandomReorder,
    RandomSubstitute,
    SegmentMask,
    SequenceAugmentation,
    Sequential,
    SwapNoise,
    TwoViews,
)
from tfrs_barlow.layers.encoders import (
    ConvolutionEncoder,
    GRUEncoder,
    MeanPoolingEncoder,
    SequenceEncoder,
    TransformerEncoder,
)
from tfrs_barlow.layers.projector import Projector

__all__ = [
    "ByLength",
    "ConvolutionEncoder",
    "GRUEncoder",
    "MeanPoolingEncoder",
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
    "TransformerEncoder",
    "TwoViews",
]
