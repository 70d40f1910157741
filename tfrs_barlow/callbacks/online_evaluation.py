"""What the online evaluations share: when to evaluate, whom, and what to log."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.callbacks.frozen_encoder import (
    FrozenEncoder,
    checked_encoder,
    encoder_of,
)
from tfrs_barlow.evaluation import DownstreamTask, LabeledEmbeddings


class OnlineEvaluation(tf.keras.callbacks.Callback, abc.ABC):
    """Predicts labels from the embeddings of an encoder while it trains.

    A subclass defines `evaluate`, and documents the arguments.
    """

    def __init__(
        self,
        train: DownstreamTask,
        validation: DownstreamTask,
        *,
        length: int,
        name: str,
        every: int,
        encoder: tf.keras.layers.Layer | None,
        batch_size: int,
    ) -> None:
        super().__init__()
        self.length = _checks.integer("length", length, at_least=1)
        self.every = _checks.integer("every", every, at_least=1)
        self.batch_size = _checks.integer("batch_size", batch_size, at_least=1)
        self.name = _checks.text("name", name)
        self.train = _labeled("train", train)
        self.validation = _labeled("validation", validation)
        self.encoder = checked_encoder(encoder)
        self._frozen: FrozenEncoder | None = None

    @abc.abstractmethod
    def evaluate(
        self, train: LabeledEmbeddings, validation: LabeledEmbeddings
    ) -> dict[str, float]:
        """Returns `accuracy` and `macro_f1` on the validation users."""

    def set_model(self, model: tf.keras.Model) -> None:
        """Finds the encoder."""
        super().set_model(model)
        encoder = self.encoder or encoder_of(model)
        self._frozen = FrozenEncoder(encoder, length=self.length)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates, if it is time, and adds the metrics to the logs."""
        is_last = epoch + 1 == self.params.get("epochs")
        # NaN is no improvement to `EarlyStopping` and the like, which would warn of a
        # missing metric.
        metrics = dict.fromkeys(("accuracy", "macro_f1"), float("nan"))
        if is_last or (epoch + 1) % self.every == 0:
            embeddings = self._embed(self.train), self._embed(self.validation)
            metrics = self.evaluate(*embeddings)
        if logs is None:
            return
        for metric, value in metrics.items():
            key = f"{self.name}_{metric}"
            if key in logs:
                raise ValueError(
                    f"name must differ from those of other callbacks, but {key!r} is "
                    "already in the logs."
                )
            logs[key] = value

    def _embed(self, task: DownstreamTask) -> LabeledEmbeddings:
        assert self._frozen is not None, "Keras sets the model before it trains."
        embeddings = self._frozen.embed(task.histories, self.batch_size)
        return LabeledEmbeddings(embeddings, task.labels)


def _labeled(name: str, task: DownstreamTask) -> DownstreamTask:
    """Returns the users that have a label."""
    _checks.instance(name, task, DownstreamTask)
    labels = np.asarray(task.labels)
    users = len(task.histories)
    if labels.shape != (users,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"The labels of {name} must be one integer class for each of the {users} "
            f"histories, but they are {labels.dtype} of the shape {labels.shape}."
        )
    labeled = DownstreamTask(task.histories, labels).select(np.arange(users))
    if len(labeled.labels) == 0:
        raise ValueError(f"{name} must have a user with a label, but no user has one.")
    return labeled
