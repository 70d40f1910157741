"""Callbacks that look at a model while it trains."""

from tfrs_barlow.callbacks.cross_correlation_image import CrossCorrelationImage
from tfrs_barlow.callbacks.embedding_projector import (
    EmbeddingProjector,
    write_projector,
)
from tfrs_barlow.callbacks.online_knn import OnlineKNN
from tfrs_barlow.callbacks.online_probe import OnlineProbe

__all__ = [
    "CrossCorrelationImage",
    "EmbeddingProjector",
    "OnlineKNN",
    "OnlineProbe",
    "write_projector",
]
