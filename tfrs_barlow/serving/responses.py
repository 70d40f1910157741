"""What an export computes for raw histories: embeddings, and items from an index."""

from __future__ import annotations

import tensorflow as tf

from tfrs_barlow.data import Vocabulary
from tfrs_barlow.ids import FIRST_ITEM_ID
from tfrs_barlow.serving.index import ExactIndex
from tfrs_barlow.serving.items import ItemTable, require
from tfrs_barlow.serving.requests import RequestOptions, most_recent
from tfrs_barlow.serving.towers import Inference

Response = dict[str, tf.Tensor]
"""From the name of an output to its value."""


class Embedder(tf.Module):
    """A tower behind the vocabulary that it was trained on.

    Args:
        infer: From ids `[batch, max_length]` to embeddings `[batch, dim]`.
        vocabulary: The items that the ids stand for.
        max_length: How many items of a history `infer` reads.
    """

    def __init__(
        self, infer: Inference, vocabulary: Vocabulary, max_length: int
    ) -> None:
        super().__init__()
        self.items = ItemTable(vocabulary)
        self._infer = infer
        self._max_length = max_length

    def embed(self, history: tf.Tensor) -> Response:
        """Returns the embeddings of raw histories `[batch, any length]`."""
        ids = most_recent(self.items.encode(history), self._max_length)
        return {
            "embedding": tf.cast(self._infer(ids), tf.float32),
            "cold_start": ~tf.reduce_any(ids >= FIRST_ITEM_ID, axis=1),
        }


class Recommender(tf.Module):
    """An index that is searched with the embeddings of an embedder."""

    def __init__(self, embedder: Embedder, index: ExactIndex) -> None:
        super().__init__()
        self.embedder = embedder
        self.index = index

    def recommend(self, history: tf.Tensor, options: RequestOptions) -> Response:
        """Returns the best candidates for raw histories `[batch, any length]`."""
        user = self.embedder.embed(history)
        cold_start = user["cold_start"]
        batch = tf.shape(history)[0]
        excluded = _one_or_each("excluded", options.excluded, batch)
        hide_seen = tf.reshape(options.exclude_history, [-1, 1])
        hide_seen = _one_or_each("exclude_history", hide_seen, batch)
        seen = tf.where(hide_seen, history, self.embedder.items.blank)
        hidden = tf.concat([seen, excluded], axis=1)
        items, scores = self.index.recommend(
            user["embedding"], options.k, hidden, cold_start
        )
        return {"ids": items, "scores": scores, "cold_start": cold_start}

    def similar_items(self, items: tf.Tensor, k: tf.Tensor) -> Response:
        """Returns the candidates that are most similar to raw `items`, `[batch]`."""
        similar, scores, unknown = self.index.similar(items, k)
        return {"ids": similar, "scores": scores, "cold_start": unknown}


def _one_or_each(name: str, rows: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Returns one row for each of the batch, from as many or from one for all."""
    count = tf.shape(rows)[0]
    rows = require(
        rows,
        (count == 1) | (count == batch),
        *(f"{name} must hold one row, or one for each of", batch),
        *("histories, but it holds", count),
    )
    return tf.broadcast_to(rows, [batch, tf.shape(rows)[1]])
