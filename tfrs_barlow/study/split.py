"""The users of a study, divided by one seed: trains encoders, and judges them."""

from __future__ import annotations

import functools
import importlib.metadata
import pathlib
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow._lock import locked
from tfrs_barlow.data import (
    InteractionLog,
    ItemCategories,
    UserSequences,
    build_sequences,
    split_users,
)
from tfrs_barlow.evaluation import (
    DownstreamTask,
    FineTuningSettings,
    LabeledEmbeddings,
    RankingMetrics,
    downstream_task,
    embed_users,
    evaluate_dual_encoder,
    fine_tune_classifier,
    fine_tune_retrieval,
    users_with_labels,
)
from tfrs_barlow.evaluation.downstream_tasks import TaskName
from tfrs_barlow.evaluation.fine_tuning import predict_classes, probe_next_item
from tfrs_barlow.evaluation.probe import class_metrics, fit_probe
from tfrs_barlow.evaluation.ranking import next_item_metrics
from tfrs_barlow.models import DualEncoder
from tfrs_barlow.study.config import Method, StudyConfig
from tfrs_barlow.study.grid import WITHOUT_ENCODER, Cell, trained_as
from tfrs_barlow.study.methods import Towers, Trainer, item_shares
from tfrs_barlow.study.rows import Row

MIN_LENGTH = 5
"""Users with fewer events are left out: `future_category` needs a past and a future."""

MIN_USERS = 10
"""A tenth of the users is there to choose by, and a tenth to judge by."""

PACKAGES = ("tfrs-barlow", "tensorflow", "tf-keras", "scikit-learn", "numpy")


class StudyData(NamedTuple):
    """The users of a log with enough events, and the categories of items, if any."""

    sequences: UserSequences
    vocabulary_size: int
    categories: ItemCategories | None

    @classmethod
    def from_log(cls, log: InteractionLog, tasks: Sequence[TaskName]) -> StudyData:
        """Refuses a log with too few users to be split, or too little for the tasks."""
        counts = log.interactions["user_id"].value_counts()
        enough = int((counts >= MIN_LENGTH).sum())
        if enough < MIN_USERS:
            raise ValueError(
                f"log must have {MIN_USERS} users with {MIN_LENGTH} events or more, "
                f"but only {enough} of its {len(counts)} users have as many."
            )
        sequences, vocabulary = build_sequences(log, min_length=MIN_LENGTH)
        categories = None
        if log.items["categories"].map(bool).any():
            categories = ItemCategories.from_log(log, vocabulary)
        elif tuple(tasks) != ("next_item",):
            raise ValueError(
                f"tasks are {tasks}, but no item of the log has a category: only "
                "'next_item' can do without."
            )
        return cls(sequences, vocabulary.size, categories)

    def fingerprint(self) -> str:
        """Returns what distinguishes data of the same name."""
        parts = [self.sequences.item_ids.tobytes(), self.sequences.row_splits.tobytes()]
        if self.categories is not None:
            parts.append(self.categories.membership.tobytes())
            parts.append(repr(self.categories.names).encode())
        fingerprint = 0
        for part in parts:
            fingerprint = zlib.crc32(part, fingerprint)
        return f"{fingerprint:08x}"


class Parts(NamedTuple):
    """A task for the training users with known labels, and for the others."""

    train: DownstreamTask
    validation: DownstreamTask
    test: DownstreamTask


class Split:
    """Trains encoders on the training users of one seed, and judges them.

    `trainings_dir` keeps the trainings, one folder each.
    """

    def __init__(
        self,
        data: StudyData,
        config: StudyConfig,
        *,
        seed: int,
        trainings_dir: pathlib.Path,
        verbose: bool,
    ) -> None:
        self.config = config
        self.seed = seed
        self.trainings_dir = trainings_dir
        self.verbose = verbose
        self.sequences = data.sequences
        self.vocabulary_size = data.vocabulary_size
        self.users = split_users(len(data.sequences), seed=seed)
        self.categories = data.categories
        if self.categories is not None:
            self.categories = self.categories.most_specific(
                self.sequences.select(self.users.train), limit=config.categories
            )
        self._task = functools.cache(
            lambda name: downstream_task(name, self.sequences, self.categories)
        )
        # Cells that share an encoder follow each other: the newest one is enough.
        self._newest: tuple[tuple[Any, ...], Towers] | None = None

    def measure(self, cell: Cell) -> Row | None:
        """Returns the metrics of a cell and what they took.

        Returns `None` if no user with known labels, no validation user or no test user
        has the label.
        """
        if not all(len(part.labels) for part in self._parts(cell)):
            return None
        towers = None if cell.method in WITHOUT_ENCODER else self._towers(cell)
        start = time.monotonic()
        if towers is None:
            metrics = self._count(cell)
        elif cell.task == "next_item":
            metrics = self._judge_next_item(cell, towers)
        else:
            metrics = self._judge_category(cell, towers)
        return {
            **metrics,
            "pretraining_steps": towers.steps if towers else 0,
            "pretraining_seconds": round(towers.seconds, 1) if towers else 0.0,
            "seconds": round(time.monotonic() - start, 1),
            "versions": {name: _version(name) for name in PACKAGES},
        }

    def _count(self, cell: Cell) -> Row:
        """Judges what can be predicted without an encoder, by counting alone."""
        parts = self._parts(cell)
        if cell.method == "category_counts":
            return _probe_row(parts, self._category_shares)
        if cell.task == "next_item":
            shares = item_shares(self._known_users(cell), self.vocabulary_size)
            return _ranking_row(
                parts,
                lambda task: next_item_metrics(
                    np.tile(shares, (len(task.labels), 1)), task
                ),
            )
        majority = np.bincount(parts.train.labels).argmax()
        return _class_row(parts, lambda task: np.full_like(task.labels, majority))

    def _judge_category(self, cell: Cell, towers: Towers) -> Row:
        parts = self._parts(cell)
        if cell.protocol == "frozen":
            return _probe_row(parts, functools.partial(self._embed, towers.encoder))
        assert self.categories is not None
        model, curve = fine_tune_classifier(
            self._trainer(cell.method, cell.batch_size).copy(towers.encoder),
            parts.train,
            parts.validation,
            num_classes=len(self.categories.names),
            settings=self._fine_tuning,
        )
        predict = functools.partial(predict_classes, model, length=self.config.length)
        return {**_class_row(parts, predict), "curve": curve}

    def _judge_next_item(self, cell: Cell, towers: Towers) -> Row:
        parts, users = self._parts(cell), self._known_users(cell)
        size, settings = self.vocabulary_size, self._fine_tuning
        if cell.protocol == "frozen":
            model, curve = probe_next_item(
                towers.encoder,
                users,
                parts.validation,
                vocabulary_size=size,
                settings=settings,
            )
            row = _ranking_row(
                parts, lambda task: next_item_metrics(self._embed(model, task), task)
            )
            return {**row, "curve": curve}
        model, curve = self._dual_encoder(cell, towers), []
        if cell.protocol == "fine_tuned":
            curve = fine_tune_retrieval(
                model,
                users,
                parts.validation,
                vocabulary_size=size,
                settings=settings,
            )
        row = _ranking_row(
            parts,
            functools.partial(
                evaluate_dual_encoder,
                model,
                vocabulary_size=size,
                length=self.config.length,
            ),
        )
        return {**row, "curve": curve}

    def _dual_encoder(self, cell: Cell, towers: Towers) -> DualEncoder:
        """Returns a copy of the towers as a dual encoder, to be trained further."""
        trainer = self._trainer(cell.method, cell.batch_size)
        encoder = trainer.copy(towers.encoder)
        model = trainer.new_dual_encoder(encoder, self._known_users(cell))
        if towers.candidate_tower is not None:
            model.candidate_tower.set_weights(towers.candidate_tower.get_weights())
        model.compile(tf.keras.optimizers.Adam(self.config.fine_tuning_learning_rate))
        return model

    def _towers(self, cell: Cell) -> Towers:
        key = (cell.batch_size, *trained_as(cell))
        if self._newest is None or self._newest[0] != key:
            self._newest = key, self._train(*key)
        return self._newest[1]

    def _train(
        self, batch_size: int, method: Method, label_fraction: float | None
    ) -> Towers:
        """Trains towers on a share of the users, or reads them if they are trained."""
        users = self.users.train
        name = f"seed_{self.seed}-batch_{batch_size}-{method}"
        if label_fraction is not None:
            users = users_with_labels(self.users, label_fraction)
            name += f"-{label_fraction:g}"
        if self.verbose:
            print(f"training: {name}", flush=True)
        # Another process that trains the same is awaited; `fit_resumable`, which locks
        # the folder of the training itself, would refuse.
        with locked(self.trainings_dir / "locks" / name, wait=True):
            return self._trainer(method, batch_size).train(
                self.sequences.select(users), self.trainings_dir / name
            )

    def _trainer(self, method: Method, batch_size: int) -> Trainer:
        return Trainer(
            method,
            self.config,
            self.vocabulary_size,
            seed=self.seed,
            batch_size=batch_size,
            verbose=2 if self.verbose else 0,
        )

    def _parts(self, cell: Cell) -> Parts:
        known = users_with_labels(self.users, cell.label_fraction)
        users = (known, self.users.validation, self.users.test)
        return Parts(*map(self._task(cell.task).select, users))

    def _known_users(self, cell: Cell) -> UserSequences:
        """Returns the sequences of the users whose labels are known."""
        users = users_with_labels(self.users, cell.label_fraction)
        return self.sequences.select(users)

    def _embed(
        self, encoder: tf.keras.layers.Layer, task: DownstreamTask
    ) -> npt.NDArray:
        return embed_users(encoder, task.histories, length=self.config.length)

    def _category_shares(self, task: DownstreamTask) -> npt.NDArray:
        """Returns the share of each category among the items an encoder would read."""
        assert self.categories is not None
        items = task.histories.to_dense(self.config.length)
        counts = self.categories.membership[items].sum(axis=1)
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    @property
    def _fine_tuning(self) -> FineTuningSettings:
        return FineTuningSettings(
            steps=self.config.fine_tuning_steps,
            batch_size=self.config.fine_tuning_batch_size,
            learning_rate=self.config.fine_tuning_learning_rate,
            length=self.config.length,
            seed=self.seed,
        )


def _row(parts: Parts, metrics_of: Callable[[DownstreamTask], Row]) -> Row:
    """Returns the metrics of the validation and the test users."""
    return {
        f"{part}_{name}": value
        for part in ("validation", "test")
        for name, value in metrics_of(getattr(parts, part)).items()
    }


def _class_row(parts: Parts, predict: Callable[[DownstreamTask], npt.NDArray]) -> Row:
    return _row(parts, lambda task: class_metrics(task.labels, predict(task)))


def _probe_row(parts: Parts, features: Callable[[DownstreamTask], npt.NDArray]) -> Row:
    """Returns the metrics of a linear model on features of users."""
    probe = fit_probe(
        LabeledEmbeddings(features(parts.train), parts.train.labels),
        LabeledEmbeddings(features(parts.validation), parts.validation.labels),
    )
    return _class_row(parts, lambda task: probe.predict(features(task)))


def _ranking_row(
    parts: Parts, evaluate: Callable[[DownstreamTask], RankingMetrics]
) -> Row:
    def metrics_of(task: DownstreamTask) -> Row:
        metrics = evaluate(task)._asdict()
        return {"accuracy": metrics.pop("hit_rate_1"), **metrics}

    return _row(parts, metrics_of)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
