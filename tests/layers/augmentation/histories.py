"""Sequences for the tests of augmentations, in all forms, and how to read views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from scipy import stats

from tfrs_barlow.ids import FIRST_ITEM_ID, PADDING_ID

SEED = tf.constant([3, 5], tf.int64)
START = 1_600_000_000

# Each item below 40 has two neighbors, 40 and 80 further, which show what they replace;
# 39 is without a neighbor. There is a gap between the two.
VOCABULARY_SIZE = 200
NEIGHBORS = np.zeros((VOCABULARY_SIZE, 3), np.int32)
NEIGHBORS[3:39, 0] = np.arange(43, 79)
NEIGHBORS[3:39, 2] = np.arange(83, 119)
GENRES = {"genre": np.arange(VOCABULARY_SIZE) * 2}

Columns = dict[str, Any]


def padded(
    rows: Iterable[Sequence[Any]], side: str = "right", width: int | None = None
) -> tf.Tensor:
    rows = [list(row) for row in rows]
    width = max([len(row) for row in rows] + [1]) if width is None else width
    fill = [[PADDING_ID] * (width - len(row)) for row in rows]
    pairs = zip(rows, fill, strict=True)
    return tf.constant([a + b if side == "right" else b + a for a, b in pairs])


def ragged(rows: Sequence[Sequence[int]]) -> tf.RaggedTensor:
    return tf.ragged.constant(rows, ragged_rank=1, dtype=tf.int32)


def counting(*lengths: int) -> list[list[int]]:
    """Sequences 3, 4, 5, ...: each item shows where it was."""
    return [list(range(FIRST_ITEM_ID, FIRST_ITEM_ID + length)) for length in lengths]


def times_of(gaps: npt.ArrayLike) -> list[int]:
    return [START + int(time) for time in np.cumsum([0, *np.asarray(gaps)])]


def history(
    *rows: Sequence[int], side: str = "right", width: int | None = None
) -> Columns:
    """Dense columns of sequences 3, 4, 5, ... given by their times."""
    ids = padded(counting(*map(len, rows)), side, width)
    times = tf.cast(padded(rows, side, width), tf.int64)
    return with_columns({"item_id": ids, "timestamp": times})


def ragged_history(*rows: Sequence[int]) -> Columns:
    lengths = [len(row) for row in rows]
    return {
        name: tf.RaggedTensor.from_tensor(column, lengths)
        for name, column in history(*rows).items()
    }


def with_columns(columns: Columns) -> Columns:
    """Adds columns that show where a value comes from."""
    ids = columns["item_id"]
    rating = tf.cast(ids, tf.float32) / 4
    return {**columns, "genre": ids * 2, "rating": rating, "original": ids}


def items(view: Any) -> list[list[int]]:
    """The item ids of each row, without padding."""
    dense = view["item_id"] if isinstance(view, Mapping) else view
    return [[int(item) for item in row if item] for row in np.asarray(dense)]


def lists(view: Columns) -> dict[str, list[list[Any]]]:
    """Every column of a ragged view as lists."""
    return {name: column.to_list() for name, column in view.items()}


def unpadded(view: Columns) -> dict[str, list[list[Any]]]:
    """Every column of a dense view as lists, without padding."""
    is_item = view["item_id"].numpy() != PADDING_ID
    return {
        name: [
            row[here].tolist()
            for row, here in zip(column.numpy(), is_item, strict=True)
        ]
        for name, column in view.items()
    }


def many(length: int, layer: tf.keras.layers.Layer, rows: int = 20_000) -> np.ndarray:
    """Independent views of one sequence of a given length."""
    inputs = tf.tile(padded(counting(length)), [rows, 1])
    return layer(inputs, training=True, seed=SEED).numpy()


def are_equally_likely(counts: npt.ArrayLike) -> bool:
    return bool(stats.chisquare(counts).pvalue > 0.001)
