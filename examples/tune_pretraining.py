"""Searches for the hyper-parameters of a Barlow Twins pretraining.

    python -m examples.tune_pretraining
    python -m examples.tune_pretraining --dataset=ml-1m --trials=50 --steps=1500
    python -m examples.tune_pretraining --data_dir=path/to/ml-1m

The first command uses synthetic data, and takes a few minutes. KerasTuner proposes
hyper-parameters. A trial is judged by how well a linear probe of the frozen encoder
predicts the favorite category of the validation users, and ends early if that no longer
rises. At the end the best encoder is judged once on the test users, who had no part in
any choice. A search that was interrupted resumes when it is started again.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any, cast, get_args

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.data import MovieLensDataset
from tfrs_barlow.evaluation import DownstreamTask, LabeledEmbeddings, ProbeMetrics

try:
    import keras_tuner
except ImportError as error:
    raise ImportError(
        "This example needs KerasTuner: pip install 'tfrs-barlow[tune]'"
    ) from error

DATASETS = ("synthetic", *get_args(MovieLensDataset))

OBJECTIVE = "probe_accuracy"
"""The metric to maximize: that of `OnlineProbe` on the validation users."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is the same in all trials.

    Attributes:
        steps: The most batches to train on, rounded up to whole evaluations.
        steps_per_evaluation: The batches between two probes of the encoder.
        patience: A trial ends after so many probes without a better one.
        batch_size: The rows of a batch.
        length: The number of items of a history to read.
        output_dim: The width of the embedding.
        seed: Fixes the proposals, the views and the batches.
    """

    steps: int = 200
    steps_per_evaluation: int = 25
    patience: int = 3
    batch_size: int = 256
    length: int = 50
    output_dim: int = 64
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """Sequences to train on, and labeled users to judge by.

    Attributes:
        sequences: The sequences of the training users.
        vocabulary_size: The number of ids, reserved ones included.
        train: The favorite categories of the training users.
        validation: Those of the validation users.
        test: Those of the test users.
    """

    sequences: tfrsb.data.UserSequences
    vocabulary_size: int
    train: DownstreamTask
    validation: DownstreamTask
    test: DownstreamTask

    @classmethod
    def from_log(cls, log: tfrsb.data.InteractionLog) -> Data:
        """Splits the users of a log."""
        sequences, vocabulary = tfrsb.data.build_sequences(log, min_length=2)
        categories = tfrsb.data.ItemCategories.from_log(log, vocabulary)
        task = tfrsb.evaluation.downstream_task(
            "favorite_category", sequences, categories
        )
        users = tfrsb.data.split_users(len(sequences))
        return cls(
            sequences.select(users.train),
            vocabulary.size,
            *(task.select(part) for part in users),
        )


def build_model(
    hp: keras_tuner.HyperParameters, vocabulary_size: int, settings: Settings
) -> tfrsb.models.BarlowTwinsPretraining:
    """Makes a model from a proposal: this defines the search space."""
    tf.keras.utils.set_random_seed(settings.seed)
    width = hp.Choice("projector_width", [64, 256, 512])
    weight = hp.Float("off_diagonal_weight", 1e-3, 0.1, sampling="log", default=5e-3)
    model = tfrsb.models.BarlowTwinsPretraining(
        tfrsb.layers.ConvolutionEncoder(
            vocabulary_size,
            output_dim=settings.output_dim,
            dropout=hp.Float("dropout", 0.0, 0.4, step=0.1),
        ),
        views=tfrsb.layers.TwoViews(
            [
                tfrsb.layers.RandomCrop(hp.Float("crop", 0.2, 0.9, default=0.5)),
                tfrsb.layers.RandomMask(hp.Float("mask", 0.0, 0.6, default=0.2)),
            ],
            seed=settings.seed,
        ),
        projector=tfrsb.layers.Projector([width] * 2),
        task=tfrsb.tasks.BarlowTwinsTask(weight, name="barlow_twins"),
    )
    rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
    model.compile(
        tf.keras.optimizers.Adam(
            tf.keras.optimizers.schedules.CosineDecay(
                initial_learning_rate=0.0,
                warmup_target=rate,
                warmup_steps=max(1, settings.steps // 10),
                decay_steps=settings.steps,
            )
        )
    )
    return model


def train(
    hp: keras_tuner.HyperParameters, data: Data, settings: Settings
) -> tuple[tf.keras.layers.Layer, dict[str, float]]:
    """Trains a model; returns its encoder at its best epoch, and the logs then."""
    model = build_model(hp, data.vocabulary_size, settings)
    probe = tfrsb.callbacks.OnlineProbe(
        data.train, data.validation, length=settings.length
    )
    stop = tf.keras.callbacks.EarlyStopping(
        monitor=OBJECTIVE, patience=settings.patience, restore_best_weights=True
    )
    batches = tfrsb.data.training_batches(
        data.sequences,
        batch_size=settings.batch_size,
        length=settings.length,
        seed=settings.seed,
    )
    history = model.fit(
        batches,
        epochs=-(-settings.steps // settings.steps_per_evaluation),
        steps_per_epoch=settings.steps_per_evaluation,
        callbacks=[probe, stop, tf.keras.callbacks.TerminateOnNaN()],
        verbose=0,
    ).history
    best = int(np.argmax(history[OBJECTIVE]))
    logs = {name: float(values[best]) for name, values in history.items()}
    return model.query_tower, logs


class PretrainingTuner(keras_tuner.BayesianOptimization):
    """Proposes hyper-parameters by the results of earlier ones.

    KerasTuner's training loop takes models of Keras 3 only. But `run_trial` may train
    anything, as long as it returns metrics.
    """

    def run_trial(
        self, trial: Any, data: Data, settings: Settings, **display: Any
    ) -> dict[str, float]:
        """Returns the logs of a training at its best epoch."""
        del display  # KerasTuner's training loop uses it.
        return train(trial.hyperparameters, data, settings)[1]


def search(
    data: Data, settings: Settings, *, trials: int, output_dir: pathlib.Path
) -> PretrainingTuner:
    """Tries hyper-parameters, or resumes the search in `output_dir`."""
    tuner = PretrainingTuner(
        objective=keras_tuner.Objective(OBJECTIVE, direction="max"),
        max_trials=trials,
        # To the tuner 0 means no seed.
        seed=settings.seed + 1,
        directory=output_dir,
        project_name="search",
    )
    tuner.search(data, settings)
    return tuner


def trials_table(tuner: PretrainingTuner) -> pd.DataFrame:
    """Returns the completed trials, the best one first."""
    trials = tuner.oracle.get_best_trials(len(tuner.oracle.trials))
    rows = {
        trial.trial_id: {**trial.hyperparameters.values, OBJECTIVE: trial.score}
        for trial in trials
        if trial.status == "COMPLETED"  # A training that diverged has failed.
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trial")


def judge(
    encoder: tf.keras.layers.Layer, data: Data, settings: Settings
) -> ProbeMetrics:
    """Probes an encoder for the favorite categories of the test users."""
    return tfrsb.evaluation.linear_probe(
        *(
            LabeledEmbeddings(
                tfrsb.evaluation.embed_users(
                    encoder, part.histories, length=settings.length
                ),
                part.labels,
            )
            for part in (data.train, data.validation, data.test)
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the search that the command line describes."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    settings = Settings(
        **{field.name: getattr(flags, field.name) for field in _fields()}
    )
    output_dir = flags.output_dir or pathlib.Path("runs") / "tune"
    try:
        log = _load(flags.dataset, flags.data_dir)
        # Refuses a folder with another search.
        tfrsb.study.require_same_settings(
            output_dir, {"data": repr(log), **dataclasses.asdict(settings)}
        )
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print(log)
    data = Data.from_log(log)

    tuner = search(data, settings, trials=flags.trials, output_dir=output_dir)
    table = trials_table(tuner)
    if table.empty:
        parser.exit(1, f"error: no trial of {flags.trials} was completed.\n")
    table.to_csv(output_dir / "trials.csv")
    print(f"\n{len(table)} trials, the best one first\n")
    print(table.to_string(float_format="{:.3g}".format))

    # The seed fixes a trial, so this repeats the best one.
    encoder, logs = train(tuner.get_best_hyperparameters()[0], data, settings)
    metrics = judge(encoder, data, settings)
    print(
        f"\nThe best trial: accuracy {logs[OBJECTIVE]:.3f} on the validation users, by "
        f"whom it was chosen, and {metrics.accuracy:.3f} on {len(data.test.labels)} "
        "test users."
    )


def _fields() -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(Settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.tune_pretraining",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        help="which data (default: ml-1m with --data_dir, else synthetic)",
    )
    parser.add_argument(
        "--data_dir",
        type=pathlib.Path,
        help="a folder with the files of the data set; without it they are downloaded",
    )
    parser.add_argument(
        "--output_dir",
        type=pathlib.Path,
        help="the folder of the search (default: runs/tune)",
    )
    parser.add_argument(
        "--trials",
        type=_positive,
        default=20,
        help="how many trials (default: 20)",
    )
    for field in _fields():
        parser.add_argument(
            f"--{field.name}",
            type=int if field.name == "seed" else _positive,
            default=field.default,
            help=f"default: {field.default}",
        )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but it is {value}")
    return value


def _load(
    dataset: str | None, data_dir: pathlib.Path | None
) -> tfrsb.data.InteractionLog:
    dataset = dataset or ("ml-1m" if data_dir else "synthetic")
    if dataset == "synthetic":
        return tfrsb.data.generate_synthetic_log()
    return tfrsb.data.load_movielens(cast(MovieLensDataset, dataset), data_dir)


if __name__ == "__main__":
    main()
