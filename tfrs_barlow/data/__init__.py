"""Interaction logs, user sequences and the batches a model trains on."""

from tfrs_barlow.data.batches import training_batches
from tfrs_barlow.data.categories import ItemCategories
from tfrs_barlow.data.filters import filter_k_core, filter_ratings
from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.neighbors import (
    cooccurrence_neighbors,
    embedding_neighbors,
)
from tfrs_barlow.data.pairs import (
    SequencePairs,
    different_period_pairs,
    pair_batches,
    same_target_pairs,
)
from tfrs_barlow.data.readers.download import MovieLensDataset
from tfrs_barlow.data.readers.malformed import MalformedFileError
from tfrs_barlow.data.readers.movielens import load_movielens
from tfrs_barlow.data.readers.scanning import scan_sequences
from tfrs_barlow.data.readers.tables import read_interactions
from tfrs_barlow.data.readers.yelp import read_yelp
from tfrs_barlow.data.records.beam_preparation import write_sequences_with_beam
from tfrs_barlow.data.records.folder import verify_sequences
from tfrs_barlow.data.records.reading import load_sequences, read_sequences
from tfrs_barlow.data.records.writing import write_sequences
from tfrs_barlow.data.sequences import UserSequences, build_sequences
from tfrs_barlow.data.splits import UserSplit, split_by_time, split_last, split_users
from tfrs_barlow.data.synthetic import generate_synthetic_log
from tfrs_barlow.data.vocabulary import Vocabulary
from tfrs_barlow.ids import FIRST_ITEM_ID, MASK_ID, OUT_OF_VOCABULARY_ID, PADDING_ID

__all__ = [
    "FIRST_ITEM_ID",
    "MASK_ID",
    "OUT_OF_VOCABULARY_ID",
    "PADDING_ID",
    "InteractionLog",
    "ItemCategories",
    "MalformedFileError",
    "MovieLensDataset",
    "SequencePairs",
    "UserSequences",
    "UserSplit",
    "Vocabulary",
    "build_sequences",
    "cooccurrence_neighbors",
    "different_period_pairs",
    "embedding_neighbors",
    "filter_k_core",
    "filter_ratings",
    "generate_synthetic_log",
    "load_movielens",
    "load_sequences",
    "pair_batches",
    "read_interactions",
    "read_sequences",
    "read_yelp",
    "same_target_pairs",
    "scan_sequences",
    "split_by_time",
    "split_last",
    "split_users",
    "training_batches",
    "verify_sequences",
    "write_sequences",
    "write_sequences_with_beam",
]
