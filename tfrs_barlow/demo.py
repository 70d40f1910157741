"""Pretrains a user encoder with Barlow Twins, makes use of it, and exports it.

    python -m tfrs_barlow.demo
    python -m tfrs_barlow.demo --dataset=ml-1m
    python -m tfrs_barlow.demo --data_dir=path/to/ml-1m

The first runs on synthetic data, in a few minutes and without a network. The second
downloads MovieLens-1M from GroupLens, the third reads a copy that is already there.
An interrupted run goes on where it stopped when it is started again.

Labels are known of a tenth of the training users. Two uses are shown, each beside the
same encoder without pretraining: a linear model that tells a user's favorite genre,
and a dual encoder that recommends the next film. `tfrs_barlow.study` compares
more methods, tasks and seeds.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple, cast, get_args

import numpy as np
import pandas as pd
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.data import InteractionLog, MovieLensDataset, UserSequences

DATASETS = ("synthetic", *get_args(MovieLensDataset))


SETTINGS: dict[str, tuple[Any, str]] = {
    "steps": (1000, "the steps of pretraining, and the most of fine-tuning"),
    "batch_size": (256, "the sequences of a batch"),
    "length": (50, "how many of a user's most recent items an encoder reads"),
    "learning_rate": (1e-3, "of Adam"),
    "label_fraction": (0.1, "the share of training users with labels"),
    "seed": (0, "fixes the split, the weights, the batches and the views"),
}
"""What decides the outcome, with defaults and meanings."""


class Users(NamedTuple):
    """The sequences of a log, and whose labels are known."""

    sequences: UserSequences
    vocabulary: tfrsb.data.Vocabulary
    split: tfrsb.data.UserSplit
    labeled: Any


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the job that the command line describes."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    dataset = flags.dataset or _dataset_in(flags.data_dir, parser)
    try:
        log = _load(dataset, flags.data_dir)
        users = read_users(log, flags)
    except (OSError, TypeError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print(log)

    output_dir = flags.output_dir or pathlib.Path("runs") / dataset
    settings = {name: getattr(flags, name) for name in SETTINGS}
    try:
        # Else a pretraining with other settings would pass for this one.
        tfrsb.study.StagedRun(output_dir, {"data": str(log), **settings})
    except ValueError as error:
        parser.exit(1, f"error: {error}\n")
    untrained = new_encoder(users, flags)
    pretrained = new_encoder(users, flags)
    pretrain(pretrained, users, output_dir / "pretraining", flags)

    accuracies, hit_rates = {}, {}
    for name, encoder in {"untrained": untrained, "pretrained": pretrained}.items():
        accuracies[name] = favorite_accuracy(encoder, users, log, flags)
        model, hit_rates[name] = fine_tune(encoder, users, flags)
    table = pd.DataFrame(
        {"favorite, accuracy": accuracies, "next item, hit rate at 10": hit_rates}
    )
    table.to_csv(output_dir / "figures.csv", index_label="encoder")
    print(
        f"\n{len(users.labeled)} users with labels, {len(users.split.test)} to test\n"
    )
    print(table.to_string(float_format="{:.3f}".format))

    version = export(model, users, log, output_dir / "model", flags)
    print(f"\nSaved model: {version}")
    show_recommendations(version, log)


def read_users(log: InteractionLog, flags: argparse.Namespace) -> Users:
    """Makes sequences of a log, and chooses the users with labels."""
    sequences, vocabulary = tfrsb.data.build_sequences(log, min_length=3)
    split = tfrsb.data.split_users(len(sequences), seed=flags.seed)
    labeled = tfrsb.evaluation.users_with_labels(split, flags.label_fraction)
    return Users(sequences, vocabulary, split, labeled)


def new_encoder(
    users: Users, flags: argparse.Namespace
) -> tfrsb.layers.ItemPoolingEncoder:
    """Makes an untrained encoder, the same one each time."""
    tf.keras.utils.set_random_seed(flags.seed)
    encoder = tfrsb.layers.ItemPoolingEncoder(users.vocabulary.size)
    encoder.build([None, flags.length])
    return encoder


def pretrain(
    encoder: tf.keras.layers.Layer,
    users: Users,
    backup_dir: pathlib.Path,
    flags: argparse.Namespace,
) -> None:
    """Trains an encoder on the histories of all training users, without labels."""
    model = tfrsb.models.BarlowTwinsPretraining(encoder)
    model.compile(tf.keras.optimizers.Adam(flags.learning_rate))
    batches = functools.partial(
        tfrsb.data.training_batches,
        users.sequences.select(users.split.train),
        batch_size=flags.batch_size,
        length=flags.length,
        seed=flags.seed,
    )
    tfrsb.models.fit_resumable(model, batches, steps=flags.steps, backup_dir=backup_dir)


def favorite_accuracy(
    encoder: tf.keras.layers.Layer,
    users: Users,
    log: InteractionLog,
    flags: argparse.Namespace,
) -> float:
    """Returns how well a linear model tells the favorite category of test users."""
    categories = tfrsb.data.ItemCategories.from_log(log, users.vocabulary)
    labels = categories.favorite(users.sequences)
    embeddings = tfrsb.evaluation.embed_users(
        encoder, users.sequences, length=flags.length
    )
    parts = (
        tfrsb.evaluation.LabeledEmbeddings(embeddings[rows], labels[rows])
        for rows in (users.labeled, users.split.validation, users.split.test)
    )
    return tfrsb.evaluation.linear_probe(*parts).accuracy


def fine_tune(
    encoder: tf.keras.layers.Layer, users: Users, flags: argparse.Namespace
) -> tuple[tfrsb.models.DualEncoder, float]:
    """Trains a dual encoder on the labeled users, and judges it on test users."""
    table = tf.keras.layers.Embedding(users.vocabulary.size, encoder.embedding_dim)
    table.build([None])
    table.set_weights(encoder.item_embedding.get_weights())
    # The next items of the others are not known.
    shown = users.sequences.select(users.labeled)
    counts = np.bincount(shown.item_ids, minlength=users.vocabulary.size)
    model = tfrsb.models.DualEncoder(
        encoder,
        tf.keras.Sequential([table, tf.keras.layers.Dense(encoder.output_dim)]),
        sampling_probability=np.maximum(counts, 1) / counts.sum(),
    )
    model.compile(tf.keras.optimizers.Adam(flags.learning_rate))
    validation, test = (
        tfrsb.evaluation.LeaveOneOut.of(users.sequences.select(rows))
        for rows in (users.split.validation, users.split.test)
    )
    tfrsb.evaluation.fine_tune_retrieval(
        model,
        shown,
        validation,
        vocabulary_size=users.vocabulary.size,
        settings=tfrsb.evaluation.FineTuningSettings(
            steps=flags.steps,
            batch_size=flags.batch_size,
            learning_rate=flags.learning_rate,
            length=flags.length,
            seed=flags.seed,
        ),
    )
    figures = tfrsb.evaluation.evaluate_dual_encoder(
        model, test, vocabulary_size=users.vocabulary.size, length=flags.length
    )
    return model, figures.hit_rate_10


def export(
    model: tfrsb.models.DualEncoder,
    users: Users,
    log: InteractionLog,
    path: pathlib.Path,
    flags: argparse.Namespace,
) -> pathlib.Path:
    """Writes a SavedModel for TensorFlow Serving."""
    counts = log.interactions["item_id"].value_counts()
    tokens = list(users.vocabulary.tokens)
    return tfrsb.serving.export(
        model.query_tower,
        path,
        vocabulary=users.vocabulary,
        candidates=model.candidate_tower,
        popularity=counts.reindex(tokens, fill_value=0),
        max_length=flags.length,
    )


def show_recommendations(version: pathlib.Path, log: InteractionLog) -> None:
    """Asks the saved model what to recommend to one user, as a server would."""
    events = log.interactions.sort_values("timestamp", kind="stable")
    user = events["user_id"].iloc[-1]
    history = events["item_id"][events["user_id"] == user].to_numpy()
    model = tfrsb.serving.load(version)
    answer = model.recommend(history[None], k=5)
    titles = log.items.set_index("item_id")["title"]
    for label, items in (
        ("seen last", history[-5:]),
        ("recommended", np.asarray(answer["ids"])[0]),
    ):
        names = "; ".join(titles.reindex(items).fillna("(no title)"))
        print(f"User {user}, {label}: {names}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tfrs_barlow.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--dataset",
        choices=DATASETS,
        help="which data (default: what is in --data_dir, else synthetic)",
    )
    add(
        "--data_dir",
        type=pathlib.Path,
        help="a folder with the files of the data set; without it they are downloaded",
    )
    add(
        "--output_dir",
        type=pathlib.Path,
        help="where to keep the run and its results (default: runs/DATASET)",
    )
    for name, (default, meaning) in SETTINGS.items():
        help_text = f"{meaning} (default: {default})"
        add(f"--{name}", type=type(default), default=default, help=help_text)
    return parser


def _dataset_in(data_dir: pathlib.Path | None, parser: argparse.ArgumentParser) -> str:
    """Tells the data set by the files in a folder."""
    if data_dir is None:
        return "synthetic"
    if (data_dir / "ratings.dat").exists():
        return "ml-1m"
    if (data_dir / "ratings.csv").exists():
        return "ml-20m"
    parser.exit(
        1,
        f"error: {data_dir} must hold ratings.dat (MovieLens-1M) or ratings.csv (the "
        "later ones), but it holds neither.\n",
    )


def _load(dataset: str, data_dir: pathlib.Path | None) -> InteractionLog:
    if dataset == "synthetic":
        return tfrsb.data.generate_synthetic_log()
    return tfrsb.data.load_movielens(cast(MovieLensDataset, dataset), data_dir)


if __name__ == "__main__":
    main()
