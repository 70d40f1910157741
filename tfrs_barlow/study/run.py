"""Barlow Twins against the dual encoder: every method, task and share of labels.

Users are split into training, validation and test users, anew for each seed. Encoders
see the sequences of training users only. Labels are known of a share of them. Every
choice (the step to keep, the penalty of a probe) is made on validation users; test
users are looked at once for every row.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.metadata
import itertools
import operator
import pathlib
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf
from sklearn import metrics

from tfrs_barlow.data import (
    InteractionLog,
    ItemCategories,
    UserSequences,
    Vocabulary,
    build_sequences,
    split_users,
)
from tfrs_barlow.evaluation.downstream_tasks import (
    TASKS,
    DownstreamTask,
    TaskName,
    downstream_task,
    users_with_labels,
)
from tfrs_barlow.evaluation.embedding import embed_users
from tfrs_barlow.evaluation.fine_tuning import (
    FineTuningSettings,
    fine_tune_classifier,
    fine_tune_retrieval,
    predict_classes,
    probe_next_item,
)
from tfrs_barlow.evaluation.linear_probe import LabeledEmbeddings, probe_predictions
from tfrs_barlow.evaluation.next_item import (
    LeaveOneOut,
    evaluate_dual_encoder,
    next_item_metrics,
)
from tfrs_barlow.evaluation.ranking import RankingMetrics
from tfrs_barlow.study.config import (
    METHODS,
    PROTOCOLS,
    REFERENCES,
    Method,
    Protocol,
    StudyConfig,
)
from tfrs_barlow.study.methods import Towers, Trainer, item_shares
from tfrs_barlow.study.report import MAIN_METRIC, per_cent
from tfrs_barlow.study.rows import Row, RowFile

MIN_LENGTH = 5
"""Users with fewer events are left out: `future_category` needs a past and a future."""

MIN_USERS = 10
"""A tenth of the users is there to choose by, and a tenth to judge by."""

WITH_FEW_LABELS: dict[Method, Method] = {
    "dual_encoder_few": "dual_encoder",
    "transformer_few": "transformer",
}
"""The methods that are trained anew for every share of labels, and what they are where
all labels are known."""

WITH_ALL_NEXT_ITEMS: tuple[Method, ...] = ("dual_encoder", "joint", "transformer")
"""The methods that train a candidate tower on the next items of all training users."""

PACKAGES = ("tfrs-barlow", "tensorflow", "tf-keras", "scikit-learn", "numpy")


class Cell(NamedTuple):
    """A place in the grid of a study."""

    seed: int
    batch_size: int
    method: Method
    label_fraction: float
    protocol: Protocol
    task: TaskName


def run_study(
    log: InteractionLog,
    config: StudyConfig,
    output_dir: str | pathlib.Path,
    *,
    dataset: str,
    other_grids: bool = False,
    verbose: bool = True,
) -> pd.DataFrame:
    """Measures every cell of the grid that has not been measured yet.

    The rows are in `output_dir / "rows.jsonl"`. A run that was killed goes on where it
    was when it is started again, in the middle of a training too; a larger grid with
    the same settings adds to what is there. Folders of finished trainings may be
    deleted. A cell for which no user with known labels, or none to judge by, has the
    label is passed over.

    Example:
        >>> import tempfile
        >>> log = tfrsb.data.generate_synthetic_log(num_users=60)
        >>> config = tfrsb.study.StudyConfig(
        ...     methods=("counting", "random"),
        ...     tasks=("favorite_category",),
        ...     protocols=("frozen",),
        ...     label_fractions=(1.0,),
        ...     seeds=(0,),
        ... )
        >>> rows = tfrsb.study.run_study(
        ...     log, config, tempfile.mkdtemp(), dataset="synthetic", verbose=False
        ... )
        >>> rows["method"].tolist()
        ['counting', 'random']

    Args:
        log: The interactions, and the categories of the items.
        config: The grid and the settings.
        output_dir: Where to keep rows and trainings.
        dataset: The name of the log, for the rows.
        other_grids: Whether to return the rows of other grids of this log and these
            settings, too.
        verbose: Whether to show progress.

    Returns:
        The rows of this log, these settings and this grid: one per cell, the newest,
        by seed, small batches and few labels first.

    Raises:
        ValueError: If the log has too few users to be split, or no categories though a
            task is of them, or no cell of the grid makes sense.
    """
    study = _Study(log, config, pathlib.Path(output_dir), dataset, verbose)
    study.run()
    return study.table(other_grids)


class _Study:
    """A log, a grid, and the file that rows go to."""

    def __init__(
        self,
        log: InteractionLog,
        config: StudyConfig,
        output_dir: pathlib.Path,
        dataset: str,
        verbose: bool,
    ) -> None:
        self.config = config
        self.output_dir = output_dir
        self.verbose = verbose
        self.rows = RowFile(output_dir / "rows.jsonl")
        self.sequences, self.vocabulary = _sequences(log)
        self.categories = None
        if log.items["categories"].map(bool).any():
            self.categories = ItemCategories.from_log(log, self.vocabulary)
        elif config.tasks != ("next_item",):
            raise ValueError(
                f"tasks are {config.tasks}, but no item of the log has a category: "
                "only 'next_item' can do without."
            )
        if not any(self._cells()):
            raise ValueError(
                f"No method of {config.methods} is judged by a protocol of "
                f"{config.protocols} and a task of {config.tasks} with these shares of "
                "labels."
            )
        self.identity = {
            "dataset": dataset,
            "data": _fingerprint(self.sequences, self.categories),
            **config.settings(),
        }

    def run(self) -> None:
        missing = [cell for cell in self._cells() if not self._has(cell)]
        # Cells that share an encoder follow each other.
        for count, cell in enumerate(missing, 1):
            split = self._split(cell.seed)
            if lacking := split.lacks_labels(cell):
                outcome = f"{_describe(cell)}: not measured, {lacking}"
            else:
                row = split.measure(cell)
                self.rows.append({**self.identity, **cell._asdict(), **row})
                outcome = f"{_describe(cell)}: {_outcome(cell, row)}"
            if self.verbose:
                print(f"[{count}/{len(missing)}] {outcome}", flush=True)

    def table(self, other_grids: bool) -> pd.DataFrame:
        newest = {}
        for row in self.rows.select(self.identity):
            cell = Cell(**{name: row[name] for name in Cell._fields})
            newest[cell] = row
        cells = sorted(newest, key=_usual_order) if other_grids else self._cells()
        # In an order for tables, whatever was measured first.
        place = operator.attrgetter("seed", "batch_size", "label_fraction")
        in_order = sorted(cells, key=place)
        return pd.DataFrame([newest[cell] for cell in in_order if cell in newest])

    def _has(self, cell: Cell) -> bool:
        return self.rows.has({**self.identity, **cell._asdict()})

    def _cells(self) -> Iterator[Cell]:
        config = self.config
        for cell in itertools.starmap(
            Cell,
            itertools.product(
                config.seeds,
                config.batch_sizes,
                config.methods,
                config.label_fractions,
                config.protocols,
                config.tasks,
            ),
        ):
            if _makes_sense(cell):
                yield cell

    @functools.lru_cache(maxsize=1)  # noqa: B019 - a study lives as long as its run.
    def _split(self, seed: int) -> _Split:
        return _Split(self, seed)


def _usual_order(cell: Cell) -> tuple[int, ...]:
    """Returns the place of a cell in the grid of all."""
    return (
        METHODS.index(cell.method),
        PROTOCOLS.index(cell.protocol),
        TASKS.index(cell.task),
    )


def _makes_sense(cell: Cell) -> bool:
    """Tells the cells of the grid that are measured from those that are not."""
    if cell.method == "counting":
        return cell.protocol == "frozen"
    if cell.method == "category_counts":
        return cell.protocol == "frozen" and cell.task != "next_item"
    if cell.protocol == "as_trained":
        # With all labels `transformer_few` is `transformer`.
        all_labels = cell.label_fraction == 1
        judged = WITH_ALL_NEXT_ITEMS if all_labels else ("transformer_few",)
        return cell.task == "next_item" and cell.method in judged
    if cell.method in REFERENCES:
        return False
    # For the next item this is what fine-tuning a random encoder does.
    return not (cell.method == "dual_encoder_few" and cell.task == "next_item")


class _Split:
    """The users of a study, divided by one seed, and the encoders trained on them."""

    def __init__(self, study: _Study, seed: int) -> None:
        self.study = study
        self.config = study.config
        self.seed = seed
        self.sequences = study.sequences
        self.split = split_users(len(self.sequences), seed=seed)
        self.train = self.sequences.select(self.split.train)
        self.categories = study.categories
        if self.categories is not None:
            self.categories = self.categories.most_specific(
                self.train, limit=self.config.categories
            )

    def lacks_labels(self, cell: Cell) -> str:
        """Returns why a cell cannot be measured, "" if it can."""
        names = ("user with known labels", "validation user", "test user")
        for name, part in zip(names, self._parts(cell), strict=True):
            if len(part.labels) == 0:
                return f"since no {name} has this label"
        return ""

    def measure(self, cell: Cell) -> Row:
        """Returns the figures of a cell."""
        start = time.monotonic()
        steps, pretraining_seconds = 0, 0.0
        if cell.method == "counting":
            figures = self._count(cell)
        elif cell.method == "category_counts":
            figures = self._probe(cell, self._category_shares)
        else:
            towers = self._towers(cell)
            steps, pretraining_seconds = towers.steps, towers.seconds
            start = time.monotonic()
            figures = self._judge(cell, towers)
        return {
            **figures,
            "pretraining_steps": steps,
            "pretraining_seconds": round(pretraining_seconds, 1),
            "seconds": round(time.monotonic() - start, 1),
            "versions": {name: _version(name) for name in PACKAGES},
        }

    def _judge(self, cell: Cell, towers: Towers) -> Row:
        if cell.task == "next_item":
            return self._judge_next_item(cell, towers)
        if cell.protocol == "frozen":
            return self._probe(cell, functools.partial(self._embed, towers))
        train, validation, test = self._parts(cell)
        trainer = self._trainer(cell)
        model, curve = fine_tune_classifier(
            trainer.copy(cell.method, towers).encoder,
            train,
            validation,
            num_classes=self._num_classes,
            settings=self._fine_tuning,
        )
        figures = _class_figures(
            *(
                (part.labels, predict_classes(model, part, length=self.config.length))
                for part in (validation, test)
            )
        )
        return {**figures, "curve": curve}

    def _probe(
        self, cell: Cell, features: Callable[[DownstreamTask], npt.NDArray]
    ) -> Row:
        """Returns the figures of a linear model on given features of users."""
        train, validation, test = self._parts(cell)
        predicted = probe_predictions(
            *(
                LabeledEmbeddings(features(part), part.labels)
                for part in (train, validation, test)
            )
        )
        return _class_figures(
            (validation.labels, predicted.validation), (test.labels, predicted.test)
        )

    def _parts(self, cell: Cell) -> Iterator[DownstreamTask]:
        """Returns the task for training users with known labels, and for the others."""
        task = self._task(cell.task)
        for users in (
            users_with_labels(self.split, cell.label_fraction),
            self.split.validation,
            self.split.test,
        ):
            yield task.select(users)

    def _judge_next_item(self, cell: Cell, towers: Towers) -> Row:
        size = self.study.vocabulary.size
        users = self._known_users(cell.label_fraction)
        if cell.protocol == "frozen":
            model, curve = probe_next_item(
                towers.encoder,
                users,
                self._leave_one_out("validation"),
                vocabulary_size=size,
                settings=self._fine_tuning,
            )
            figures = self._ranking_metrics(
                lambda users: next_item_metrics(
                    embed_users(model, users.histories, length=self.config.length),
                    users,
                )
            )
            return {**figures, "curve": curve}
        dual_encoder = self._dual_encoder(cell, towers)
        curve = []
        if cell.protocol == "fine_tuned":
            curve = fine_tune_retrieval(
                dual_encoder,
                users,
                self._leave_one_out("validation"),
                vocabulary_size=size,
                settings=self._fine_tuning,
            )
        figures = self._ranking_metrics(
            functools.partial(
                evaluate_dual_encoder,
                dual_encoder,
                vocabulary_size=size,
                length=self.config.length,
            )
        )
        return {**figures, "curve": curve}

    def _dual_encoder(self, cell: Cell, towers: Towers) -> Any:
        """Returns the dual encoder of the towers, which fine-tuning starts from."""
        trainer = self._trainer(cell)
        users = self._known_users(cell.label_fraction)
        encoder = trainer.copy(cell.method, towers).encoder
        model = trainer.new_dual_encoder(encoder, users)
        if towers.candidate_tower is not None:
            model.candidate_tower.set_weights(towers.candidate_tower.get_weights())
        model.compile(tf.keras.optimizers.Adam(self.config.fine_tuning_learning_rate))
        return model

    def _ranking_metrics(
        self, evaluate: Callable[[LeaveOneOut], RankingMetrics]
    ) -> Row:
        figures: Row = {}
        for part in ("validation", "test"):
            ranking = evaluate(self._leave_one_out(part))
            figures |= {
                f"{part}_accuracy": ranking.hit_rate_1,
                f"{part}_hit_rate_10": ranking.hit_rate_10,
                f"{part}_ndcg_10": ranking.ndcg_10,
                f"{part}_mrr": ranking.mrr,
            }
        return figures

    def _count(self, cell: Cell) -> Row:
        """Returns what can be had without an encoder, by counting alone."""
        if cell.task == "next_item":
            shares = item_shares(
                self._known_users(cell.label_fraction), self.study.vocabulary.size
            )
            return self._ranking_metrics(
                lambda users: next_item_metrics(
                    np.tile(shares, (len(users.labels), 1)), users
                )
            )
        task = self._task(cell.task)
        known = task.select(users_with_labels(self.split, cell.label_fraction))
        majority = np.bincount(known.labels).argmax()
        validation, test = (
            task.select(users).labels
            for users in (self.split.validation, self.split.test)
        )
        return _class_figures(
            (validation, np.full_like(validation, majority)),
            (test, np.full_like(test, majority)),
        )

    @functools.lru_cache(maxsize=1)  # noqa: B019 - a split lives as long as its run.
    def _towers_of(
        self, method: Method, batch_size: int, label_fraction: float | None
    ) -> Towers:
        users = self.train
        name = f"seed_{self.seed}-batch_{batch_size}-{method}"
        if label_fraction is not None:
            users = self._known_users(label_fraction)
            name += f"-{label_fraction:g}"
        settings = zlib.crc32(repr(sorted(self.study.identity.items())).encode())
        folder = self.study.output_dir / "trainings" / f"{settings:08x}" / name
        folder.mkdir(parents=True, exist_ok=True)
        if self.study.verbose:
            print(f"training: {name}", flush=True)
        trainer = Trainer(
            self.config,
            self.study.vocabulary.size,
            seed=self.seed,
            batch_size=batch_size,
            verbose=2 if self.study.verbose else 0,
        )
        with _alone_in(folder):
            return trainer.train(method, users, folder)

    def _towers(self, cell: Cell) -> Towers:
        method, label_fraction = cell.method, None
        if method in WITH_FEW_LABELS:
            if cell.label_fraction < 1:
                label_fraction = cell.label_fraction
            else:
                method = WITH_FEW_LABELS[method]
        return self._towers_of(method, cell.batch_size, label_fraction)

    def _trainer(self, cell: Cell) -> Trainer:
        return Trainer(
            self.config,
            self.study.vocabulary.size,
            seed=self.seed,
            batch_size=cell.batch_size,
        )

    def _embed(self, towers: Towers, task: DownstreamTask) -> npt.NDArray:
        return embed_users(towers.encoder, task.histories, length=self.config.length)

    def _category_shares(self, task: DownstreamTask) -> npt.NDArray:
        """Returns the share of each category among the items an encoder would read."""
        assert self.categories is not None
        items = task.histories.to_dense(self.config.length)
        counts = self.categories.membership[items].sum(axis=1)
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    @property
    def _num_classes(self) -> int:
        assert self.categories is not None
        return len(self.categories.names)

    @functools.lru_cache(maxsize=len(TASKS))  # noqa: B019 - as `_towers_of`.
    def _task(self, name: TaskName) -> DownstreamTask:
        return downstream_task(name, self.sequences, self.categories)

    def _known_users(self, label_fraction: float) -> UserSequences:
        """Returns the sequences of the users whose labels are known."""
        return self.sequences.select(users_with_labels(self.split, label_fraction))

    def _leave_one_out(self, part: str) -> LeaveOneOut:
        return LeaveOneOut.of(self.sequences.select(getattr(self.split, part)))

    @property
    def _fine_tuning(self) -> FineTuningSettings:
        return FineTuningSettings(
            steps=self.config.fine_tuning_steps,
            batch_size=self.config.fine_tuning_batch_size,
            learning_rate=self.config.fine_tuning_learning_rate,
            length=self.config.length,
            seed=self.seed,
        )


def _sequences(log: InteractionLog) -> tuple[UserSequences, Vocabulary]:
    """Returns the sequences of users with enough events, if there are enough users."""
    counts = log.interactions["user_id"].value_counts()
    enough = int((counts >= MIN_LENGTH).sum())
    if enough < MIN_USERS:
        raise ValueError(
            f"log must have {MIN_USERS} users with {MIN_LENGTH} events or more, but "
            f"only {enough} of its {len(counts)} users have as many."
        )
    return build_sequences(log, min_length=MIN_LENGTH)


def _fingerprint(sequences: UserSequences, categories: ItemCategories | None) -> str:
    """Returns what tells data of the same name apart."""
    parts = [sequences.item_ids.tobytes(), sequences.row_splits.tobytes()]
    if categories is not None:
        parts += [categories.membership.tobytes(), repr(categories.names).encode()]
    fingerprint = 0
    for part in parts:
        fingerprint = zlib.crc32(part, fingerprint)
    return f"{fingerprint:08x}"


def _class_figures(
    validation: tuple[npt.NDArray, npt.NDArray], test: tuple[npt.NDArray, npt.NDArray]
) -> Row:
    """Returns the figures of pairs of labels and predictions."""
    figures: Row = {}
    for part, (labels, predicted) in (("validation", validation), ("test", test)):
        figures[f"{part}_accuracy"] = float(np.mean(labels == predicted))
        figures[f"{part}_macro_f1"] = float(
            metrics.f1_score(labels, predicted, average="macro", zero_division=0.0)
        )
    return figures


def _describe(cell: Cell) -> str:
    return (
        f"seed {cell.seed}, batch {cell.batch_size}, {cell.method}, {cell.protocol}, "
        f"{cell.task}, {per_cent(cell.label_fraction)} of labels"
    )


def _outcome(cell: Cell, row: Row) -> str:
    figure = MAIN_METRIC[cell.task]
    return f"{figure} {row[f'test_{figure}']:.3f} ({row['seconds']:.0f} s)"


@contextlib.contextmanager
def _alone_in(folder: pathlib.Path) -> Iterator[None]:
    """Waits until no other process trains in a folder."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
