"""The next-item task: its users, its full ranking, and choosing a model by it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data.sequences import UserSequences
from tfrs_barlow.evaluation.embedding import embed_users
from tfrs_barlow.evaluation.ranking import (
    RankingMetrics,
    label_ranks,
    ranking_metrics,
)
from tfrs_barlow.models.dual_encoder import DualEncoder


class LeaveOneOut(NamedTuple):
    """Users whose last item is to be found from those before it.

    Attributes:
        histories: All but the last item of each user.
        labels: `[users]`, the last items.
    """

    histories: UserSequences
    labels: npt.NDArray[np.int32]

    @classmethod
    def of(cls, sequences: UserSequences) -> LeaveOneOut:
        """Splits the last item off the sequence of every user with at least two."""
        sequences = sequences.select(sequences.lengths >= 2)
        return cls(sequences.without_last(), sequences.item_from_end(1))


def next_item_metrics(scores: npt.ArrayLike, users: LeaveOneOut) -> RankingMetrics:
    """Ranks all items for every user by given scores; seen items do not count.

    Args:
        scores: `[users, vocabulary size]`.
        users: The users, and what is to be found.
    """
    return ranking_metrics(label_ranks(scores, users.labels, seen=users.histories))


def evaluate_dual_encoder(
    model: DualEncoder, users: LeaveOneOut, *, vocabulary_size: int, length: int
) -> RankingMetrics:
    """Ranks all items for every user by a dual encoder; seen items do not count.

    Args:
        model: The trained towers.
        users: The users, and what is to be found.
        vocabulary_size: The number of ids, reserved ones included.
        length: How many items of a history to read.
    """
    queries = embed_users(model.query_tower, users.histories, length=length)
    candidates = model.candidate_embeddings(vocabulary_size).numpy()
    return next_item_metrics(queries @ candidates.T, users)


class NextItemValidation(tf.keras.callbacks.Callback):
    """Adds the next-item figures of validation users to the logs of every epoch.

    Under `val_hit_rate_10` and so on, for `EarlyStopping` and the like to monitor.
    """

    def __init__(
        self, users: LeaveOneOut, *, vocabulary_size: int, length: int
    ) -> None:
        """Initializes the callback, with the arguments of `evaluate_dual_encoder`."""
        super().__init__()
        self.users = users
        self.vocabulary_size = vocabulary_size
        self.length = length

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates the model."""
        figures = evaluate_dual_encoder(
            self.model,
            self.users,
            vocabulary_size=self.vocabulary_size,
            length=self.length,
        )
        if logs is not None:
            logs.update(
                {f"val_{name}": value for name, value in figures._asdict().items()}
            )
