"""What the tutorials share: flags, and MovieLens in the form they expect."""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast, get_args

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.data import InteractionLog, MovieLensDataset, Vocabulary

HISTORY_LENGTH = 20


class Variant(NamedTuple):
    """What to train: the tutorial, with a history, or with Barlow Twins too."""

    epochs: int
    with_history: bool = False
    barlow_weight: float = 0.0


class Movielens(NamedTuple):
    """The two tables of the tutorials, as rows of `tf.data`.

    Attributes:
        log: The log that the tables are made from.
        ratings: Dicts of `user_id`, `movie_id`, `movie_title` (strings), `user_rating`
            (float32) and `timestamp` (int64).
        movies: Dicts of `movie_id` and `movie_title`.
    """

    log: InteractionLog
    ratings: tf.data.Dataset
    movies: tf.data.Dataset


class Histories:
    """Adds to each rating what its user has rated before: a column `history`.

    Histories consist of training ratings, so none holds a rating to predict. Map it
    over training and test data.

    Args:
        train: The training ratings.
    """

    def __init__(self, train: tf.data.Dataset) -> None:
        columns = next(iter(train.batch(int(train.cardinality())))).items()
        events = pd.DataFrame({name: column.numpy() for name, column in columns})
        events["item_id"] = events["movie_id"].str.decode("utf-8")
        items = pd.DataFrame(columns=["item_id", "title", "categories"])
        sequences, self.vocabulary = tfrsb.data.build_sequences(
            InteractionLog(events, items)
        )
        self._user = tf.keras.layers.StringLookup(
            vocabulary=[user.decode() for user in sequences.user_ids], mask_token=None
        )
        # Users without a training rating are number 0, with an empty history.
        self._splits = tf.constant(np.insert(sequences.row_splits, 0, 0))
        self._item_ids = tf.constant(sequences.item_ids)
        self._timestamps = tf.constant(sequences.timestamps)

    def __call__(self, rating: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the rating with its history, `[HISTORY_LENGTH]`, int32."""
        user = self._user(rating["user_id"])
        start, end = self._splits[user], self._splits[user + 1]
        times = self._timestamps[start:end]
        older = tf.searchsorted(times, [rating["timestamp"]], out_type=tf.int64)[0]
        end = start + older
        history = self._item_ids[tf.maximum(start, end - HISTORY_LENGTH) : end]
        padded = tf.pad(history, [[0, HISTORY_LENGTH - tf.size(history)]])
        return {**rating, "history": tf.ensure_shape(padded, [HISTORY_LENGTH])}


def split(
    ratings: tf.data.Dataset, columns: Iterable[str]
) -> tuple[tf.data.Dataset, tf.data.Dataset, Vocabulary]:
    """Splits ratings as the tutorials do, 80 % to 20 % at random.

    Returns:
        The training and the test ratings with the named columns and a history each, and
        the vocabulary of the histories.
    """
    count = int(ratings.cardinality())
    shuffled = ratings.shuffle(count, seed=42, reshuffle_each_iteration=False)
    train, test = shuffled.take(4 * count // 5), shuffled.skip(4 * count // 5)
    histories = Histories(train)

    def select(rating: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        rating = histories(rating)
        return {name: rating[name] for name in (*columns, "history")}

    return train.map(select), test.map(select), histories.vocabulary


def compare(
    description: str | None,
    train_and_evaluate: Callable[[Movielens, Variant], dict[str, float]],
    metrics: Sequence[str],
    *,
    barlow_weight: float,
    history_is_new: bool = True,
    arguments: Sequence[str] | None = None,
) -> None:
    """Trains a tutorial without and with Barlow Twins, and prints its metrics.

    Args:
        description: What the command does.
        train_and_evaluate: Trains a variant, and returns the metrics of the test set.
        metrics: Which of them to print.
        barlow_weight: The default weight.
        history_is_new: Whether the tutorial has no history, so that the effect of a
            history alone is shown too.
        arguments: The command line.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    datasets = ("synthetic", *get_args(MovieLensDataset))
    parser.add_argument("--dataset", choices=datasets, default="synthetic")
    parser.add_argument(
        "--data_dir", help="its folder; without it MovieLens is downloaded"
    )
    parser.add_argument("--users", type=int, default=2000, help="of synthetic data")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--barlow_weight",
        type=float,
        default=barlow_weight,
        help="relative to the mean loss of the tutorial; 0: tutorial only (default: "
        "%(default)s)",
    )
    flags = parser.parse_args(arguments)
    try:
        movielens = load(flags.dataset, flags.data_dir, flags.users)
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    variants = {"the tutorial": Variant(flags.epochs)}
    if flags.barlow_weight:
        if history_is_new:
            variants["with histories"] = Variant(flags.epochs, True)
        variants["with Barlow Twins"] = Variant(flags.epochs, True, flags.barlow_weight)
    rows = {}
    for name, variant in variants.items():
        tf.keras.utils.set_random_seed(42)
        values = train_and_evaluate(movielens, variant)
        rows[name] = {metric: values[metric] for metric in metrics}
    print(pd.DataFrame(rows).T.to_string(float_format="{:.4f}".format))


def load(
    dataset: str, data_dir: str | pathlib.Path | None = None, users: int = 2000
) -> Movielens:
    """Loads a data set in the form of the tutorials."""
    if dataset == "synthetic":
        log = _with_ratings(tfrsb.data.generate_synthetic_log(num_users=users))
    else:
        log = tfrsb.data.load_movielens(cast(MovieLensDataset, dataset), data_dir)
    titles = log.items.set_index("item_id")["title"]
    events = log.interactions
    ratings = {
        "user_id": _strings(events["user_id"]),
        "movie_id": _strings(events["item_id"]),
        "movie_title": _strings(titles.reindex(events["item_id"]).fillna("")),
        "user_rating": events["rating"].to_numpy(np.float32),
        "timestamp": events["timestamp"].to_numpy(np.int64),
    }
    movies = {
        "movie_id": _strings(log.items["item_id"]),
        "movie_title": _strings(log.items["title"]),
    }
    return Movielens(
        log,
        tf.data.Dataset.from_tensor_slices(ratings),
        tf.data.Dataset.from_tensor_slices(movies),
    )


def _strings(values: pd.Series) -> Any:
    return values.astype(str).to_numpy(object)


def _with_ratings(log: InteractionLog) -> InteractionLog:
    """Adds ratings that are higher for categories that the user sees more of."""
    categories = log.items.set_index("item_id")["categories"].str[0]
    events = log.interactions.assign(
        category=categories.reindex(log.interactions["item_id"]).to_numpy()
    )
    seen = events.groupby(["user_id", "category"])["item_id"].transform("size")
    share = seen / events.groupby("user_id")["item_id"].transform("size")
    noise = np.random.default_rng(0).normal(0, 0.5, len(events))
    ratings = (1 + 5 * np.sqrt(share) + noise).round().clip(1, 5)
    return InteractionLog(events.assign(rating=ratings.astype(np.float32)), log.items)
