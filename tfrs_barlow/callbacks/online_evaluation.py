"""What the online evaluations share: when to look, at whom, and what to log."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from sklearn import metrics

from tfrs_barlow.callbacks.frozen_encoder import FrozenEncoder, encoder_of
from tfrs_barlow.evaluation import DownstreamTask, LabeledEmbeddings


class OnlineEvaluation(tf.keras.callbacks.Callback, abc.ABC):
    """Predicts labels from the embeddings of an encoder while it trains.

    `{name}_accuracy` and `{name}_macro_f1` of the validation users go into the logs of
    every epoch. Put the callback before those that read them, such as `EarlyStopping`:
    Keras calls callbacks in their order.

    In epochs without an evaluation both are NaN: no improvement to `EarlyStopping`,
    `ModelCheckpoint` and `ReduceLROnPlateau`, which would warn of an absent figure, and
    no figure of an older encoder in a log. Patience counts epochs, not evaluations.
    """

    def __init__(
        self,
        train: DownstreamTask,
        validation: DownstreamTask,
        *,
        length: int,
        name: str,
        every: int = 1,
        encoder: tf.keras.layers.Layer | None = None,
        batch_size: int = 512,
    ) -> None:
        """Initializes the callback.

        Args:
            train: Histories and classes to learn from. Users with a negative class are
                left out.
            validation: Those to report on.
            length: How many items of a history to read, at least 1.
            name: What the names of the figures begin with.
            every: After how many epochs to evaluate, at least 1; in any case after the
                last.
            encoder: What to evaluate: from item ids `[batch, length]` to embeddings
                `[batch, dim]`. Default: the `encoder` or `query_tower` of the model.
            batch_size: How many histories to embed at a time, at least 1.

        Raises:
            ValueError: If a number is less than 1, labels are not one class per user,
                or nobody in a part has one.
        """
        super().__init__()
        numbers = {"length": length, "every": every, "batch_size": batch_size}
        for argument, value in numbers.items():
            if value < 1:
                raise ValueError(f"{argument} must be at least 1, but it is {value}.")
        self.train = _labeled("train", train)
        self.validation = _labeled("validation", validation)
        self.length = length
        self.name = name
        self.every = every
        self.encoder = encoder
        self.batch_size = batch_size
        self._frozen: FrozenEncoder | None = None

    @abc.abstractmethod
    def figures(
        self, train: LabeledEmbeddings, validation: LabeledEmbeddings
    ) -> dict[str, float]:
        """Returns accuracy and macro-F1 on the validation users, by these names."""

    def set_model(self, model: tf.keras.Model) -> None:
        """Finds the encoder."""
        super().set_model(model)
        encoder = self.encoder or encoder_of(model)
        self._frozen = FrozenEncoder(encoder, length=self.length)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates, if it is time, and adds the figures to the logs."""
        last = epoch + 1 == self.params.get("epochs")
        figures = dict.fromkeys(("accuracy", "macro_f1"), float("nan"))
        if last or (epoch + 1) % self.every == 0:
            figures = self.figures(
                self._embed(self.train), self._embed(self.validation)
            )
        if logs is None:
            return
        for metric, value in figures.items():
            key = f"{self.name}_{metric}"
            if key in logs:
                raise ValueError(
                    f"name must be unlike that of other figures, but {key!r} is in the "
                    "logs already."
                )
            logs[key] = value

    def _embed(self, task: DownstreamTask) -> LabeledEmbeddings:
        assert self._frozen is not None, "Keras sets the model before it trains."
        embeddings = self._frozen.embed(task.histories, self.batch_size)
        return LabeledEmbeddings(embeddings, task.labels)


def figures_of(labels: npt.NDArray, predicted: npt.NDArray) -> dict[str, float]:
    """Returns accuracy and macro-F1 of predicted classes."""
    return {
        "accuracy": float(np.mean(labels == predicted)),
        "macro_f1": float(metrics.f1_score(labels, predicted, average="macro")),
    }


def _labeled(name: str, task: DownstreamTask) -> DownstreamTask:
    """Returns the users that have a label."""
    labels = np.asarray(task.labels)
    users = len(task.histories)
    if labels.shape != (users,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"The labels of {name} must be one integer class for each of the {users} "
            f"histories, but they are {labels.dtype} of the shape {labels.shape}."
        )
    labeled = DownstreamTask(task.histories, labels).select(np.arange(users))
    if len(labeled.labels) == 0:
        raise ValueError(f"{name} must have a user with a label, but it has none.")
    return labeled
