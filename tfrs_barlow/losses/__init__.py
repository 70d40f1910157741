"""Losses of two batches of embeddings, as plain functions of `[batch, dim]`."""

from tfrs_barlow.losses.barlow_twins import barlow_twins_loss
from tfrs_barlow.losses.cross_correlation import (
    CorrelationTerms,
    cross_correlation_matrix,
    cross_correlation_terms,
)
from tfrs_barlow.losses.floor import (
    barlow_twins_floor,
    optimal_invariance,
    weight_for_invariance,
)
from tfrs_barlow.losses.vicreg import vicreg_loss

__all__ = [
    "CorrelationTerms",
    "barlow_twins_floor",
    "barlow_twins_loss",
    "cross_correlation_matrix",
    "cross_correlation_terms",
    "optimal_invariance",
    "vicreg_loss",
    "weight_for_invariance",
]
