"""An approximate index by ScaNN, for more candidates than there is time to score."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_barlow.serving.candidates import CandidateTable
from tfrs_barlow.serving.index import ExactIndex
from tfrs_barlow.serving.top_k import top_k

_FEW = 10_000
"""Up to how many candidates ScaNN scores all: a tree gains nothing there."""

_RECALL_QUERIES = 1000
_RECALL_K = 10


def scann_ops() -> Any:
    """Returns the operations of ScaNN, which loads them into TensorFlow.

    Raises:
        ImportError: If ScaNN is not installed or does not fit TensorFlow.
    """
    install = (
        "Every release of ScaNN fits one TensorFlow, so pip install "
        "'tfrs-barlow[scann]' installs both; this is TensorFlow "
        f"{tf.__version__}. index='exact' does without."
    )
    try:
        return importlib.import_module("scann").scann_ops
    except ImportError as error:
        raise ImportError(
            f"index='scann' needs ScaNN, which is not installed. {install}"
        ) from error
    except tf.errors.NotFoundError as error:
        raise ImportError(f"ScaNN does not fit this TensorFlow. {install}") from error


class ScannIndex(ExactIndex):
    """Recommends what ScaNN finds; similar and popular items stay exact."""

    def __init__(self, table: CandidateTable) -> None:
        """Initializes the index and trains its tree."""
        super().__init__(table)
        self.state = scann_state(table)

    def recommend(
        self,
        queries: tf.Tensor,
        k: tf.Tensor,
        excluded: tf.Tensor,
        cold_start: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns about the items with the largest inner products: see `ExactIndex`."""
        hidden = self.items.find(excluded)
        # As many more as may have to be left out.
        width = tf.cast(tf.reduce_max(tf.pad(tf.reshape(k, [-1]), [[0, 1]])), tf.int32)
        width = tf.clip_by_value(width + tf.shape(hidden)[1], 1, self.items.size)
        positions, scores = self._search(queries, width)
        positions, scores = _best_left(positions, scores, k, hidden)
        if self.popularity is not None:
            batch = tf.shape(queries)[0]
            popular, popularity = self._most_popular(batch, width, k, hidden)
            cold_rows = cold_start[:, tf.newaxis]
            positions = tf.where(cold_rows, popular, positions)
            scores = tf.where(cold_rows, popularity, scores)
        return self.items.name_of(positions), scores

    def _search(
        self, queries: tf.Tensor, width: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the positions and scores that ScaNN finds, `[batch, width]`."""
        searcher = scann_ops().searcher_from_module(self.state)
        found, products = searcher.search_batched(
            queries, width, pre_reorder_num_neighbors=_reordered(width)
        )
        # Where ScaNN finds too few it fills up with NaN.
        lost = tf.math.is_nan(products)
        return found, tf.where(lost, -float("inf"), products)

    def _most_popular(
        self, batch: tf.Tensor, width: tf.Tensor, k: tf.Tensor, hidden: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the most popular items of each row, ranked once for all of them."""
        popularity, positions = tf.math.top_k(self.popularity, width)
        shape = [batch, width]
        return _best_left(
            tf.broadcast_to(positions, shape),
            tf.broadcast_to(popularity, shape),
            k,
            hidden,
        )


def _best_left(
    positions: tf.Tensor, scores: tf.Tensor, k: tf.Tensor, hidden: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the best of some candidates, as `top_k` does of all.

    Args:
        positions: `[batch, width]`, int32, where the candidates are.
        scores: `[batch, width]`, their scores, -inf where there is none.
        k: As of `top_k`.
        hidden: `[batch, any]`, int32, positions to leave out of a row's result; or
            `[1, any]`, the same for all rows.
    """
    is_hidden = tf.reduce_any(
        positions[:, :, tf.newaxis] == hidden[:, tf.newaxis, :], axis=2
    )
    scores = tf.where(is_hidden, -float("inf"), scores)
    # By parts: of what ScaNN finds not even the rank is known.
    batch, width = tf.shape(scores)[0], tf.shape(scores)[1]
    columns, scores = top_k(
        lambda start, stop: scores[:, start:stop], width, width, batch, k, hidden[:, :0]
    )
    found = tf.gather(positions, tf.maximum(columns, 0), batch_dims=1)
    return tf.where(columns < 0, columns, found), scores


def scann_state(table: CandidateTable) -> tf.Module:
    """Returns what ScaNN needs to search the candidates, as variables."""
    embeddings = np.asarray(table.embeddings)
    builder = scann_ops().builder(embeddings, _RECALL_K, "dot_product")
    if len(embeddings) <= _FEW:
        builder = builder.score_brute_force()
    else:
        # The square root of their number is what the authors of ScaNN advise.
        leaves = int(len(embeddings) ** 0.5)
        builder = builder.tree(leaves, max(leaves // 10, 1))
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2)
        builder = builder.reorder(100)
    state = builder.build().serialize_to_module()
    for name, value in list(vars(state).items()):
        if isinstance(value, tf.Variable):
            # Of no fixed shape, so that others can be put in its place.
            flexible = tf.Variable(value, trainable=False, shape=tf.TensorShape(None))
            setattr(state, name, flexible)
    return state


def recall(
    index: ScannIndex, embed: Callable[[tf.Tensor], dict[str, tf.Tensor]]
) -> float:
    """Returns the share of the ten best items that the index finds.

    Args:
        index: The index.
        embed: From raw histories to embeddings. Those of single items are asked for,
            of a thousand items evenly spread.
    """
    count = int(index.items.size)
    places = np.unique(np.linspace(0, count - 1, _RECALL_QUERIES).astype(np.int32))
    history = index.items.name_of(tf.constant(places))[:, tf.newaxis]
    queries = embed(history)["embedding"]
    request = (
        queries,
        tf.constant(min(_RECALL_K, count)),
        tf.fill([1, 1], index.items.blank),
        tf.zeros([len(places)], tf.bool),
    )
    found, _ = index.recommend(*request)
    exact, _ = ExactIndex.recommend(index, *request)
    hits = tf.reduce_any(found[:, :, tf.newaxis] == exact[:, tf.newaxis, :], axis=2)
    return float(tf.reduce_mean(tf.cast(hits, tf.float32)))


def _reordered(width: tf.Tensor) -> tf.Tensor:
    return tf.maximum(4 * width, 100)
