"""Training on the labels of a downstream task, keeping the best weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.data import UserSequences, training_batches
from tfrs_barlow.evaluation.downstream_tasks import DownstreamTask
from tfrs_barlow.evaluation.embedding import embed_users
from tfrs_barlow.evaluation.probe import LabeledEmbeddings, fit_probe
from tfrs_barlow.evaluation.ranking import evaluate_dual_encoder, next_item_metrics
from tfrs_barlow.models import DualEncoder


@dataclasses.dataclass(frozen=True)
class FineTuningSettings:
    """How to train on labels.

    Args:
        steps: The most steps. The weights of the best validation are kept.
        steps_per_evaluation: How often to validate. If `steps` is more and not a
            multiple, training continues up to the next validation.
        patience: How many validations without a new best end the training.
        batch_size: The rows of a batch.
        learning_rate: That of Adam.
        length: How many items of a history to read.
        seed: Fixes the order of the rows.

    Raises:
        TypeError, ValueError: If a number is not an integer of at least 1, or
            `learning_rate` is not above 0.

    Examples:
        >>> tfrsb.evaluation.FineTuningSettings(steps=500, length=20).patience
        8
    """

    steps: int = 2000
    steps_per_evaluation: int = 50
    patience: int = 8
    batch_size: int = 256
    learning_rate: float = 1e-3
    length: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("steps", "steps_per_evaluation", "patience", "batch_size", "length")
        for name in counts:
            _checks.integer(name, getattr(self, name), at_least=1)
        _checks.number("learning_rate", self.learning_rate, above=0)
        _checks.integer("seed", self.seed)


def fine_tune_classifier(
    encoder: tf.keras.layers.Layer,
    train: DownstreamTask,
    validation: DownstreamTask,
    *,
    num_classes: int,
    settings: FineTuningSettings,
) -> tuple[tf.keras.Model, list[float]]:
    """Trains an encoder with a linear softmax on top.

    The softmax starts from a linear probe of the encoder. From a random softmax, the
    first steps would distort what the encoder has learned.

    Args:
        encoder: From item ids `[batch, length]` to `[batch, dim]`; it is changed.
        train: The users whose labels are known.
        validation: The users whose accuracy chooses the best step.
        num_classes: How many classes there are.
        settings: How to train.

    Returns:
        The model, from item ids to `[batch, num_classes]` logits, and the accuracy on
        the validation users: first that of the probe, then one after every
        `steps_per_evaluation`.

    Raises:
        TypeError, ValueError: If `num_classes` is not an integer above all labels, or
            `train` or `validation` has no user with a label.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=50)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> is_active = (sequences.lengths > 30).astype(np.int64)
        >>> task = tfrsb.evaluation.DownstreamTask(sequences, is_active)
        >>> model, accuracy = tfrsb.evaluation.fine_tune_classifier(
        ...     tfrsb.layers.ItemPoolingEncoder(vocabulary.size, output_dim=8),
        ...     task.select(np.arange(30)),
        ...     task.select(np.arange(30, 50)),
        ...     num_classes=2,
        ...     settings=tfrsb.evaluation.FineTuningSettings(steps=2, length=10),
        ... )
        >>> len(accuracy)
        2

    References:
        Kumar et al. (2022), "Fine-Tuning can Distort Pretrained Features and
        Underperform Out-of-Distribution", https://arxiv.org/abs/2202.10054.
    """
    _checks.integer("num_classes", num_classes, at_least=1)
    _checks.instance("settings", settings, FineTuningSettings)
    for name, task in (("train", train), ("validation", validation)):
        _checks.instance(name, task, DownstreamTask)
        if len(task.labels) == 0:
            raise ValueError(f"{name} must have a user with a label.")
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
    validation: DownstreamTask,
    *,
    vocabulary_size: int,
    settings: FineTuningSettings,
) -> list[float]:
    """Trains a dual encoder on the next items of some users.

    Args:
        model: A compiled dual encoder; it is changed.
        train: The users whose next items are known.
        validation: The next items whose NDCG@10 chooses the best step: the task
            `"next_item"` of `downstream_task`.
        vocabulary_size: The number of ids, reserved ones included.
        settings: How to train.

    Returns:
        NDCG@10 on the validation users: first that of the given model, then one after
        every `steps_per_evaluation`.

    Raises:
        TypeError, ValueError: If `vocabulary_size` is not an integer of at least 1.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=50)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> model = tfrsb.models.DualEncoder(
        ...     tfrsb.layers.ItemPoolingEncoder(vocabulary.size, output_dim=8),
        ...     tf.keras.layers.Embedding(vocabulary.size, 8),
        ... )
        >>> model.compile("adam")
        >>> task = tfrsb.evaluation.downstream_task("next_item", sequences)
        >>> ndcg = tfrsb.evaluation.fine_tune_retrieval(
        ...     model,
        ...     sequences.select(np.arange(30)),
        ...     task.select(np.arange(30, 50)),
        ...     vocabulary_size=vocabulary.size,
        ...     settings=tfrsb.evaluation.FineTuningSettings(steps=2, length=10),
        ... )
        >>> len(ndcg)
        2
    """
    _checks.integer("vocabulary_size", vocabulary_size, at_least=1)
    _checks.instance("settings", settings, FineTuningSettings)
    _checks.instance("model", model, DualEncoder)
    _checks.instance("train", train, UserSequences)
    _checks.instance("validation", validation, DownstreamTask)

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
    validation: DownstreamTask,
    *,
    vocabulary_size: int,
    settings: FineTuningSettings,
) -> tuple[tf.keras.Model, list[float]]:
    """Trains a linear softmax over all items on a frozen encoder.

    Returns the model, from item ids to `[batch, vocabulary_size]` logits, and NDCG@10
    on the validation users as training went on. The encoder is not changed.
    """
    trainable, encoder.trainable = encoder.trainable, False
    model = tf.keras.Sequential(
        [
            encoder,
            # Brings embeddings of any scale to one, so one learning rate suits all. Its
            # statistics must have settled by the first evaluation.
            tf.keras.layers.BatchNormalization(momentum=0.9, center=False, scale=False),
            tf.keras.layers.Dense(vocabulary_size),
        ]
    )
    _compile(model, settings)

    def ndcg() -> float:
        scores = embed_users(model, validation.histories, length=settings.length)
        return next_item_metrics(scores, validation).ndcg_10

    batches = _next_items(train, settings).map(
        lambda batch: (batch["history"], batch["label"])
    )
    curve = fit_and_keep_best(model, batches, ndcg, settings)
    encoder.trainable = trainable
    return model, curve


def fit_and_keep_best(
    model: tf.keras.Model,
    batches: tf.data.Dataset,
    evaluate: Callable[[], float],
    settings: FineTuningSettings,
) -> list[float]:
    """Trains a compiled model on endless batches and leaves it with its best weights.

    `evaluate` returns the metric to choose by, higher is better. Returns its values:
    before the first step, and after every `steps_per_evaluation`.
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
        self._update()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._update()

    def _update(self) -> None:
        value = self._evaluate()
        if not self.curve or value > max(self.curve):
            self._best_weights = self.model.get_weights()
        self.curve.append(value)
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
    embedded = (
        LabeledEmbeddings(
            embed_users(encoder, task.histories, length=settings.length), task.labels
        )
        for task in (train, validation)
    )
    probe = fit_probe(*embedded, num_classes=num_classes)
    softmax = tf.keras.layers.Dense(num_classes)
    softmax.build([None, len(probe.mean)])
    softmax.set_weights([probe.kernel, probe.bias])
    normalization = tf.keras.layers.Normalization(
        mean=probe.mean, variance=probe.scale**2
    )
    model = tf.keras.Sequential([encoder, normalization, softmax])
    _compile(model, settings)
    return model


def _compile(model: tf.keras.Model, settings: FineTuningSettings) -> None:
    model.compile(
        tf.keras.optimizers.Adam(settings.learning_rate),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )


def _next_items(train: UserSequences, settings: FineTuningSettings) -> tf.data.Dataset:
    return training_batches(
        train,
        batch_size=settings.batch_size,
        length=settings.length,
        seed=settings.seed,
    )
