"""Reads MovieLens as TensorFlow Datasets prepares it."""

from __future__ import annotations

import importlib
import os
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.readers.movielens import NO_GENRES

TFDSRelease = Literal["100k", "1m", "latest-small", "20m", "25m"]
"""The releases of MovieLens that TensorFlow Datasets has."""

_ROWS_AT_ONCE = 1 << 14
_COLUMNS = {
    "user_id": "user_id",
    "movie_id": "item_id",
    "user_rating": "rating",
    "timestamp": "timestamp",
}


def load_tfds_movielens(
    release: TFDSRelease, data_dir: str | os.PathLike[str] | None = None
) -> InteractionLog:
    """Loads MovieLens from TensorFlow Datasets, which downloads it if need be.

    It is the log that `load_movielens` loads, with two differences of TensorFlow
    Datasets: rows are in an order of its own, so that events of one user at one time
    may come in another; and the genre `Children's` of MovieLens-1M is `Children`.

    Needs tensorflow-datasets (extra `tfds`).

    Args:
        release: Which one: that of `movielens/1m-ratings` and `movielens/1m-movies` is
            `"1m"`.
        data_dir: Where TensorFlow Datasets keeps what it prepares; None for its own
            choice.

    Returns:
        The log. Ids are integers, and movies listed without genres have no categories.

    Raises:
        ImportError: If tensorflow-datasets is not installed.
        ValueError: If `release` is unknown.
    """
    if release not in get_args(TFDSRelease):
        raise ValueError(
            f"release must be one of {get_args(TFDSRelease)}, but it is {release!r}."
        )
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise ImportError(
            "load_tfds_movielens needs tensorflow-datasets, which cannot be imported: "
            "pip install 'tfrs-barlow[tfds]'."
        ) from error
    ratings, movies = (
        tfds.builder(
            f"movielens/{release}-{table}",
            data_dir=None if data_dir is None else os.fspath(data_dir),
        )
        for table in ("ratings", "movies")
    )
    for builder in (ratings, movies):
        builder.download_and_prepare()
    return InteractionLog(_read_ratings(tfds, ratings), _read_movies(movies))


def _read_ratings(tfds: Any, builder: Any) -> pd.DataFrame:
    """Reads the ratings, without what is repeated about their movies."""
    wanted = tfds.decode.PartialDecoding(
        {name: builder.info.features[name] for name in _COLUMNS}
    )
    rows = builder.as_dataset(split="train", decoders=wanted, shuffle_files=False)

    def numbers(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ids = {
            name: tf.strings.to_number(columns[name], tf.int64)
            for name in ("user_id", "movie_id")
        }
        return columns | ids

    batches = rows.batch(_ROWS_AT_ONCE).map(numbers).as_numpy_iterator()
    parts = [[batch[name] for name in _COLUMNS] for batch in batches]
    arrays = (np.concatenate(column) for column in zip(*parts, strict=True))
    return pd.DataFrame(dict(zip(_COLUMNS.values(), arrays, strict=True)))


def _read_movies(builder: Any) -> pd.DataFrame:
    """Reads the movies, sorted by id."""
    genre = builder.info.features["movie_genres"].feature
    movies = [
        (
            int(movie["movie_id"]),
            movie["movie_title"].decode(),
            tuple(
                name
                for name in map(genre.int2str, movie["movie_genres"])
                if name != NO_GENRES
            ),
        )
        for movie in builder.as_dataset(split="train").as_numpy_iterator()
    ]
    return pd.DataFrame(sorted(movies), columns=["item_id", "title", "categories"])
