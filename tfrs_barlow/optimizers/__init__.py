"""Optimizers for pretraining and fine-tuning that Keras lacks."""

from tfrs_barlow.optimizers.discriminative_rates import discriminative
from tfrs_barlow.optimizers.lars import LARS

__all__ = ["LARS", "discriminative"]
