"""Training on the labels of a downstream task, and keeping what validates best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data import UserSequences, training_batches
from tfrs_barlow.evaluation.downstream_tasks import DownstreamTask
from tfrs_barlow.evaluation.embedding import embed_users
from tfrs_barlow.evaluation.linear_probe import LabeledEmbeddings, probe_weights
from tfrs_barlow.evaluation.next_item import (
    LeaveOneOut,
    evaluate_dual_encoder,
    next_item_metrics,
)
from tfrs_barlow.models import DualEncoder


class FineTuningSettings(NamedTuple):
    """How to train on labels.

    Attributes:
        steps: How many steps, of which those up to the best validation count.
        steps_per_evaluation: How often to validate. If `steps` are more but no
            multiple, there are as many more as it takes to the last validation.
        patience: How many validations without a new best end the training.
        batch_size: The rows of a batch.
        learning_rate: Of Adam.
        length: How many items of a history to read.
        seed: Fixes the order of the rows.
    """

    steps: int = 2000
    steps_per_evaluation: int = 50
    patience: int = 8
    batch_size: int = 256
    learning_rate: float = 1e-3
    length: int = 50
    seed: int = 0


def fit_and_keep_best(
    model: tf.keras.Model,
    batches: tf.data.Dataset,
    evaluate: Callable[[], float],
    settings: FineTuningSettings,
) -> list[float]:
    """Trains a compiled model and leaves it with the weights that were best.

    Args:
        model: The model.
        batches: Endless batches.
        evaluate: Returns the figure to choose by, higher is better, of the model as it
            is then.
        settings: How to train.

    Returns:
        The figure before the first step, and after every `steps_per_evaluation`.
    """
    keep_best = _KeepBest(evaluate, settings.patience)
    model.fit(
        batches,
        epochs=-(-settings.steps // settings.steps_per_evaluation),
        steps_per_epoch=min(settings.steps, settings.steps_per_evaluation),
        callbacks=[keep_best],
        verbose=0,
    )
    return keep_best.curve


def fine_tune_classifier(
    encoder: tf.keras.layers.Layer,
    train: DownstreamTask,
    validation: DownstreamTask,
    *,
    num_classes: int,
    settings: FineTuningSettings,
) -> tuple[tf.keras.Model, list[float]]:
    """Trains an encoder with a linear softmax on top.

    The softmax starts from a linear probe of the encoder as it is: from a random one,
    the first steps would distort what the encoder has learned (Kumar et al. 2022,
    Fine-Tuning can Distort Pretrained Features, arXiv 2202.10054).

    Args:
        encoder: From item ids `[batch, length]` to `[batch, dim]`; it is changed.
        train: The users whose labels are known.
        validation: The users to choose the best step by, by the accuracy.
        num_classes: How many classes there are.
        settings: How to train.

    Returns:
        The model, from item ids to `[batch, num_classes]` logits, and the accuracy on
        the validation users, first that of the probe, then as training went on.

    Raises:
        ValueError: If `train` or `validation` has no user.
    """
    for name, task in (("train", train), ("validation", validation)):
        if len(task.labels) == 0:
            raise ValueError(f"{name} must have a user with a label, but has none.")
    model = _with_probe(encoder, train, validation, num_classes, settings)
    rows = (train.histories.to_dense(settings.length), train.labels)
    batches = tf.data.Dataset.from_tensor_slices(rows)
    batches = batches.shuffle(len(train.labels), seed=settings.seed).repeat()

    def accuracy() -> float:
        predicted = predict_classes(model, validation, length=settings.length)
        return float(np.mean(predicted == validation.labels))

    batches = batches.batch(settings.batch_size).prefetch(2)
    return model, fit_and_keep_best(model, batches, accuracy, settings)


def predict_classes(
    model: tf.keras.Model, task: DownstreamTask, *, length: int
) -> npt.NDArray[np.int64]:
    """Returns the class of the highest logit of every user."""
    return embed_users(model, task.histories, length=length).argmax(axis=1)


def fine_tune_retrieval(
    model: DualEncoder,
    train: UserSequences,
    validation: LeaveOneOut,
    *,
    vocabulary_size: int,
    settings: FineTuningSettings,
) -> list[float]:
    """Trains a dual encoder on the next items of some users.

    Args:
        model: A compiled dual encoder; it is changed.
        train: The users whose next items are known.
        validation: The users to choose the best step by, by NDCG@10.
        vocabulary_size: The number of ids, reserved ones included.
        settings: How to train.

    Returns:
        NDCG@10 on the validation users, as the model was and as training went on.
    """

    def ndcg() -> float:
        return evaluate_dual_encoder(
            model,
            validation,
            vocabulary_size=vocabulary_size,
            length=settings.length,
        ).ndcg_10

    return fit_and_keep_best(model, _next_items(train, settings), ndcg, settings)


def probe_next_item(
    encoder: tf.keras.layers.Layer,
    train: UserSequences,
    validation: LeaveOneOut,
    *,
    vocabulary_size: int,
    settings: FineTuningSettings,
) -> tuple[tf.keras.Model, list[float]]:
    """Trains a linear softmax over all items on a frozen encoder.

    Args:
        encoder: From item ids `[batch, length]` to `[batch, dim]`; it is not changed.
        train: The users whose next items are known.
        validation: The users to choose the best step by, by NDCG@10.
        vocabulary_size: The number of ids, reserved ones included.
        settings: How to train.

    Returns:
        The model, from item ids to `[batch, vocabulary_size]` logits, and NDCG@10 on
        the validation users as training went on.
    """
    trainable, encoder.trainable = encoder.trainable, False
    model = _with_linear_softmax(encoder, vocabulary_size, settings)

    def ndcg() -> float:
        scores = embed_users(model, validation.histories, length=settings.length)
        return next_item_metrics(scores, validation).ndcg_10

    batches = _next_items(train, settings).map(
        lambda batch: (batch["history"], batch["label"])
    )
    curve = fit_and_keep_best(model, batches, ndcg, settings)
    encoder.trainable = trainable
    return model, curve


class _KeepBest(tf.keras.callbacks.Callback):
    """Evaluates before and after each epoch, and ends with the best weights.

    `tf.keras.callbacks.EarlyStopping` restores them only if it has stopped the run.
    """

    def __init__(self, evaluate: Callable[[], float], patience: int) -> None:
        super().__init__()
        self.curve: list[float] = []
        self._evaluate = evaluate
        self._patience = patience
        self._best_weights: list[npt.NDArray] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._look()

    def _look(self) -> None:
        figure = self._evaluate()
        if not self.curve or figure > max(self.curve):
            self._best_weights = self.model.get_weights()
        self.curve.append(figure)
        since_best = len(self.curve) - 1 - int(np.argmax(self.curve))
        self.model.stop_training = since_best >= self._patience

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.model.set_weights(self._best_weights)


def _with_probe(
    encoder: tf.keras.layers.Layer,
    train: DownstreamTask,
    validation: DownstreamTask,
    num_classes: int,
    settings: FineTuningSettings,
) -> tf.keras.Model:
    """Returns an encoder with a linear softmax that starts from a probe of it."""
    probe = probe_weights(
        *(
            LabeledEmbeddings(
                embed_users(encoder, task.histories, length=settings.length),
                task.labels,
            )
            for task in (train, validation)
        ),
        num_classes=num_classes,
    )
    softmax = tf.keras.layers.Dense(num_classes)
    softmax.build([None, len(probe.mean)])
    softmax.set_weights([probe.kernel, probe.bias])
    model = tf.keras.Sequential(
        [
            encoder,
            tf.keras.layers.Normalization(mean=probe.mean, variance=probe.scale**2),
            softmax,
        ]
    )
    return _compiled(model, settings)


def _with_linear_softmax(
    encoder: tf.keras.layers.Layer, num_classes: int, settings: FineTuningSettings
) -> tf.keras.Model:
    model = tf.keras.Sequential(
        [
            encoder,
            # Puts embeddings of any scale on one: the learning rate suits all. Its
            # statistics must have settled by the first evaluation.
            tf.keras.layers.BatchNormalization(momentum=0.9, center=False, scale=False),
            tf.keras.layers.Dense(num_classes),
        ]
    )
    return _compiled(model, settings)


def _compiled(model: tf.keras.Model, settings: FineTuningSettings) -> tf.keras.Model:
    model.compile(
        tf.keras.optimizers.Adam(settings.learning_rate),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def _next_items(train: UserSequences, settings: FineTuningSettings) -> tf.data.Dataset:
    return training_batches(
        train,
        batch_size=settings.batch_size,
        length=settings.length,
        seed=settings.seed,
    )
