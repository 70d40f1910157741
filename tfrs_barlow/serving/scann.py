"""An approximate index by ScaNN, for more candidates than there is time to score."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data import Vocabulary
from tfrs_barlow.serving.index import ExactIndex
from tfrs_barlow.serving.top_k import top_k

_FEW = 10_000
"""Up to this many candidates, ScaNN scores them all: a tree gains nothing."""

_RECALL_QUERIES = 1000
_RECALL_K = 10


def scann_ops() -> Any:
    """Returns the operations of ScaNN, after loading them into TensorFlow."""
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

    def __init__(self, items: Vocabulary, embeddings: Any, *others: Any) -> None:
        super().__init__(items, embeddings, *others)
        self.state = _scann_state(np.asarray(embeddings, np.float32))

    def recommend(
        self,
        queries: tf.Tensor,
        k: tf.Tensor,
        excluded: tf.Tensor,
        cold_start: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns nearly the items that `ExactIndex` would return."""
        hidden = self.items.find(excluded)
        # Enough of them, even if all the hidden ones are found and left out.
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
            queries, width, pre_reorder_num_neighbors=tf.maximum(4 * width, 100)
        )
        # ScaNN fills up with NaN where it finds too few.
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


INDEXES = {"exact": ExactIndex, "scann": ScannIndex}
"""The indexes by name."""


def _best_left(
    positions: tf.Tensor, scores: tf.Tensor, k: tf.Tensor, hidden: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the `k` best of the candidates at `positions`, as `top_k` does of all.

    `scores` are -inf where there is no candidate. The positions in `hidden`, `[batch or
    1, any]`, are left out.
    """
    is_hidden = tf.reduce_any(
        positions[:, :, tf.newaxis] == hidden[:, tf.newaxis, :], axis=2
    )
    scores = tf.where(is_hidden, -float("inf"), scores)
    # `tf.shape`, since not even the rank of what ScaNN finds is known statically.
    batch, width = tf.shape(scores)[0], tf.shape(scores)[1]
    columns, scores = top_k(
        lambda start, stop: scores[:, start:stop], width, width, batch, k, hidden[:, :0]
    )
    found = tf.gather(positions, tf.maximum(columns, 0), batch_dims=1)
    return tf.where(columns < 0, columns, found), scores


def _scann_state(embeddings: npt.NDArray[np.float32]) -> tf.Module:
    """Returns what ScaNN needs to search the candidates, as variables."""
    builder = scann_ops().builder(embeddings, _RECALL_K, "dot_product")
    if len(embeddings) <= _FEW:
        builder = builder.score_brute_force()
    else:
        # The authors of ScaNN advise the square root of the number of candidates.
        leaves = int(len(embeddings) ** 0.5)
        builder = builder.tree(leaves, max(leaves // 10, 1))
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2)
        builder = builder.reorder(100)
    state = builder.build().serialize_to_module()
    for name, value in list(vars(state).items()):
        if isinstance(value, tf.Variable):
            # Without a fixed shape, so that other candidates can replace these.
            flexible = tf.Variable(value, trainable=False, shape=tf.TensorShape(None))
            setattr(state, name, flexible)
    return state


def recall(
    index: ScannIndex, embed: Callable[[tf.Tensor], dict[str, tf.Tensor]]
) -> float:
    """Returns the share of the ten best items that the index finds.

    `embed` gives the embeddings of raw histories. The queries are histories of one item
    each, of at most a thousand items evenly spread.
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
