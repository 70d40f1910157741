"""Pretrains a user encoder with Barlow Twins, fine-tunes it, and exports it.

    python -m tfrs_barlow.demo
    python -m tfrs_barlow.demo --dataset=ml-1m
    python -m tfrs_barlow.demo --data_dir=path/to/ml-1m

The first reads synthetic data and needs no network. The second downloads MovieLens-1M
from GroupLens. The third reads a copy of yours. If a run is interrupted, the same
command resumes it.

Only a tenth of the training users have labels. Two uses of the encoder are compared
with and without pretraining: a linear model that predicts a user's favorite category,
and a dual encoder that recommends the next item. `python -m tfrs_barlow.study` compares
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
from tfrs_barlow.evaluation import FineTuningSettings

DATASETS = ("synthetic", *get_args(MovieLensDataset))


OPTIONS: dict[str, tuple[float, str]] = {
    "steps": (1000, "steps of pretraining, and at most of fine-tuning"),
    "batch_size": (256, "sequences of a batch"),
    "length": (50, "how many of the latest items the encoder reads"),
    "learning_rate": (1e-3, "learning rate of Adam"),
    "seed": (0, "fixes the split, the weights, the batches and the views"),
    "label_fraction": (0.1, "share of training users with labels"),
}
"""What decides the outcome, with defaults and meanings."""


class Data(NamedTuple):
    """A log, its sequences, and which users have labels."""

    log: InteractionLog
    sequences: UserSequences
    vocabulary: tfrsb.data.Vocabulary
    split: tfrsb.data.UserSplit
    labeled: Any


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the job that the command line describes."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    try:
        options = {name: getattr(flags, name) for name in OPTIONS}
        label_fraction = options.pop("label_fraction")
        settings = FineTuningSettings(**options)
        name, log = load(flags.dataset, flags.data_dir)
        data = prepare(log, label_fraction, settings.seed)
        folder = flags.output_dir or pathlib.Path("runs") / name
        # A pretraining with other settings must not be taken for this one.
        run = {"data": str(log), "label_fraction": label_fraction, **options}
        tfrsb.study.require_same_settings(folder, run)
    except (OSError, TypeError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print(log)

    untrained, pretrained = new_encoder(data, settings), new_encoder(data, settings)
    losses = pretrain(pretrained, data, folder, settings)
    accuracies, hit_rates = {}, {}
    for start, encoder in {"untrained": untrained, "pretrained": pretrained}.items():
        accuracies[start] = favorite_accuracy(encoder, data, settings)
        model, hit_rates[start] = fine_tune(encoder, data, settings)
    table = pd.DataFrame(
        {"favorite, accuracy": accuracies, "next item, hit rate at 10": hit_rates}
    )
    version = export(model, data, folder / "model", settings)
    show_recommendations(version, log)

    table.to_csv(folder / "metrics.csv", index_label="encoder")
    draw(losses, table, folder / "result.png")
    print(f"\nSaved model: {version}\nPicture: {folder / 'result.png'}")
    print(f"\n{len(data.labeled)} users with labels, {len(data.split.test)} to test\n")
    print(table.to_string(float_format="{:.3f}".format))


def load(
    dataset: str | None, data_dir: pathlib.Path | None
) -> tuple[str, InteractionLog]:
    """Reads a log, and names it after the data set or after its folder."""
    name = dataset or "synthetic"
    if dataset is None and data_dir is not None:
        # The later releases of MovieLens share one format.
        layouts = {"ratings.dat": "ml-1m", "ratings.csv": "ml-latest-small"}
        found = [layouts[file] for file in layouts if (data_dir / file).exists()]
        if not found:
            raise ValueError(f"{data_dir} must hold ratings.dat or ratings.csv.")
        name, dataset = data_dir.resolve().name, found[0]
    if dataset in (None, "synthetic"):
        return name, tfrsb.data.generate_synthetic_log()
    return name, tfrsb.data.load_movielens(cast(MovieLensDataset, dataset), data_dir)


def prepare(log: InteractionLog, label_fraction: float, seed: int) -> Data:
    """Makes sequences of a log, and chooses the users with labels."""
    sequences, vocabulary = tfrsb.data.build_sequences(log, min_length=3)
    split = tfrsb.data.split_users(len(sequences), seed=seed)
    labeled = tfrsb.evaluation.users_with_labels(split, label_fraction)
    return Data(log, sequences, vocabulary, split, labeled)


def new_encoder(
    data: Data, settings: FineTuningSettings
) -> tfrsb.layers.ItemPoolingEncoder:
    """Makes an untrained encoder, the same one each time."""
    tf.keras.utils.set_random_seed(settings.seed)
    encoder = tfrsb.layers.ItemPoolingEncoder(data.vocabulary.size)
    encoder.build([None, settings.length])
    return encoder


def pretrain(
    encoder: tf.keras.layers.Layer,
    data: Data,
    folder: pathlib.Path,
    settings: FineTuningSettings,
) -> pd.DataFrame:
    """Trains an encoder on all training users, without labels. Returns its losses."""
    model = tfrsb.models.BarlowTwinsPretraining(encoder)
    model.compile(tf.keras.optimizers.Adam(settings.learning_rate))
    batches = functools.partial(
        tfrsb.data.training_batches,
        data.sequences.select(data.split.train),
        batch_size=settings.batch_size,
        length=settings.length,
        seed=settings.seed,
    )
    # A file, because a resumed run has only its own part of the history.
    file = folder / "pretraining.csv"
    tfrsb.models.fit_resumable(
        model,
        batches,
        steps=settings.steps,
        backup_dir=folder / "pretraining",
        callbacks=[tf.keras.callbacks.CSVLogger(file, append=True)],
    )
    return pd.read_csv(file).drop_duplicates("epoch", keep="last")


def favorite_accuracy(
    encoder: tf.keras.layers.Layer, data: Data, settings: FineTuningSettings
) -> float:
    """Returns how often a linear model predicts the favorite category of test users."""
    categories = tfrsb.data.ItemCategories.from_log(data.log, data.vocabulary)
    labels = categories.favorite(data.sequences)
    embeddings = tfrsb.evaluation.embed_users(
        encoder, data.sequences, length=settings.length
    )
    parts = (
        tfrsb.evaluation.LabeledEmbeddings(embeddings[rows], labels[rows])
        for rows in (data.labeled, data.split.validation, data.split.test)
    )
    return tfrsb.evaluation.linear_probe(*parts).accuracy


def fine_tune(
    encoder: tf.keras.layers.Layer, data: Data, settings: FineTuningSettings
) -> tuple[tfrsb.models.DualEncoder, float]:
    """Trains a dual encoder on labeled users. Returns it and its hit rate at 10."""
    table = tf.keras.layers.Embedding(data.vocabulary.size, encoder.embedding_dim)
    table.build([None])
    table.set_weights(encoder.item_embedding.get_weights())
    # The next items of the other users are not known.
    labeled = data.sequences.select(data.labeled)
    counts = np.bincount(labeled.item_ids, minlength=data.vocabulary.size)
    model = tfrsb.models.DualEncoder(
        encoder,
        tf.keras.Sequential([table, tf.keras.layers.Dense(encoder.output_dim)]),
        sampling_probability=np.maximum(counts, 1) / counts.sum(),
    )
    model.compile(tf.keras.optimizers.Adam(settings.learning_rate))
    next_items = tfrsb.evaluation.downstream_task("next_item", data.sequences)
    validation = next_items.select(data.split.validation)
    test = next_items.select(data.split.test)
    tfrsb.evaluation.fine_tune_retrieval(
        model,
        labeled,
        validation,
        vocabulary_size=data.vocabulary.size,
        settings=settings,
    )
    metrics = tfrsb.evaluation.evaluate_dual_encoder(
        model, test, vocabulary_size=data.vocabulary.size, length=settings.length
    )
    return model, metrics.hit_rate_10


def export(
    model: tfrsb.models.DualEncoder,
    data: Data,
    path: pathlib.Path,
    settings: FineTuningSettings,
) -> pathlib.Path:
    """Writes a SavedModel for TensorFlow Serving."""
    counts = data.log.interactions["item_id"].value_counts()
    return tfrsb.serving.export(
        model.query_tower,
        path,
        vocabulary=data.vocabulary,
        candidates=model.candidate_tower,
        popularity=counts.reindex(list(data.vocabulary.tokens), fill_value=0),
        max_length=settings.length,
    )


def show_recommendations(version: pathlib.Path, log: InteractionLog) -> None:
    """Asks the saved model what to recommend to one user, as a server would."""
    events = log.interactions.sort_values("timestamp", kind="stable")
    user = events["user_id"].iloc[-1]
    history = events["item_id"][events["user_id"] == user].to_numpy()
    answer = tfrsb.serving.load(version).recommend(history[None], k=5)
    titles = log.items.set_index("item_id")["title"]
    recommended = np.asarray(answer["ids"])[0]
    for label, items in {"seen last": history[-5:], "recommended": recommended}.items():
        names = "\n  ".join(titles.reindex(items).fillna("(no title)"))
        print(f"\nUser {user}, {label}:\n  {names}")


def draw(losses: pd.DataFrame, table: pd.DataFrame, file: pathlib.Path) -> None:
    """Draws the loss of pretraining, and the metrics with and without it."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = 50 * (losses["epoch"] + 1)
    left.plot(steps, losses["barlow_twins/loss"], marker=".", label="loss")
    left.plot(steps, losses["barlow_twins/floor"], "--", color="gray", label="floor")
    left.set(title="Pretraining", xlabel="step", ylim=(0, None))
    left.legend()
    table.T.plot.bar(ax=right, rot=0, color=["lightgray", "tab:blue"])
    for bars in right.containers:
        right.bar_label(bars, fmt="%.3f")
    right.margins(y=0.1)
    right.set_title("Test users, with and without pretraining")
    figure.savefig(file, dpi=120)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tfrs_barlow.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--dataset", choices=DATASETS, help="which data (default: synthetic)")
    add("--data_dir", type=pathlib.Path, help="a folder with the files of MovieLens")
    output = "where to keep the run and its results (default: runs/NAME)"
    add("--output_dir", type=pathlib.Path, help=output)
    for name, (default, meaning) in OPTIONS.items():
        help_text = f"{meaning} (default: {default})"
        add(f"--{name}", type=type(default), default=default, help=help_text)
    return parser


if __name__ == "__main__":
    main()
