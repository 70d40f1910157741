"""Models that train towers, and a `fit` that survives interruptions."""

from tfrs_barlow.models.dual_encoder import DualEncoder
from tfrs_barlow.models.joint import JointModel
from tfrs_barlow.models.next_item import NextItemModel
from tfrs_barlow.models.pretraining import BarlowTwinsPretraining
from tfrs_barlow.models.resumable_fit import fit_resumable
from tfrs_barlow.models.warm_starting import warm_start

__all__ = [
    "BarlowTwinsPretraining",
    "DualEncoder",
    "JointModel",
    "NextItemModel",
    "fit_resumable",
    "warm_start",
]
