"""The candidates that a model can recommend, and the search among them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_barlow.serving.candidates import CandidateTable
from tfrs_barlow.serving.items import NOWHERE, ItemTable
from tfrs_barlow.serving.top_k import Score, top_k


class ExactIndex(tf.Module):
    """Searches all candidates, which are variables outside the graph.

    No shape in the graph depends on the number of candidates, so they can be replaced
    in a SavedModel without a new graph.
    """

    def __init__(self, table: CandidateTable) -> None:
        super().__init__()
        self.items = ItemTable(table.items)
        self.blocks = _variable(table.blocks, [None, table.embeddings.shape[1], None])
        self.inverse_norms = _variable(table.inverse_norms, [None])
        self.popularity: tf.Variable | None = None
        if table.popularity is not None:
            self.popularity = _variable(table.popularity, [None])

    def recommend(
        self,
        queries: tf.Tensor,
        k: tf.Tensor,
        excluded: tf.Tensor,
        cold_start: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the items with the largest inner products, and these.

        Args:
            queries: `[batch, dim]`, float32 embeddings.
            k: How many items to return: see `top_k`.
            excluded: `[batch, any]`, raw items to leave out of the row's result.
            cold_start: `[batch]`, booleans: rows that get popular items, with their
                popularity as scores. Without popularity these rows are like the others.

        Returns:
            Raw items and scores, both `[batch, largest k]`, best first. Where there are
            fewer items, a row ends in blanks with the score -inf.
        """

        def score(start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
            products = self._products(queries, start, stop)
            popular = self._popularity(start, stop, otherwise=products)
            return tf.where(cold_start[:, tf.newaxis], popular, products)

        positions, scores = self._best(score, queries, k, self.items.find(excluded))
        return self.items.name_of(positions), scores

    def similar(
        self, items: tf.Tensor, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the candidates with the largest cosine to raw `items`, `[batch]`.

        The third output, `[batch]`, says whether the index lacks the row's item. Then
        the row holds popular items, or blanks without popularity.
        """
        own = self.items.find(items)
        unknown = own == NOWHERE
        rows = tf.maximum(own, 0)
        norms = tf.gather(self.inverse_norms, rows)
        queries = self._embeddings(rows) * norms[:, tf.newaxis]

        def score(start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
            products = self._products(queries, start, stop)
            cosines = products * self.inverse_norms[start:stop]
            popular = self._popularity(start, stop, otherwise=-float("inf"))
            return tf.where(unknown[:, tf.newaxis], popular, cosines)

        positions, scores = self._best(score, queries, k, own[:, tf.newaxis])
        return self.items.name_of(positions), scores, unknown

    def _best(
        self, score: Score, queries: tf.Tensor, k: tf.Tensor, excluded: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        block, batch = tf.shape(self.blocks)[2], tf.shape(queries)[0]
        return top_k(score, self.items.size, block, batch, k, excluded)

    def _products(
        self, queries: tf.Tensor, start: tf.Tensor, stop: tf.Tensor
    ) -> tf.Tensor:
        block = self.blocks[start // tf.shape(self.blocks)[2]]
        return tf.matmul(queries, block)[:, : stop - start]

    def _embeddings(self, positions: tf.Tensor) -> tf.Tensor:
        _, dim, width = tf.unstack(tf.shape(self.blocks))
        rows, columns = tf.meshgrid(positions, tf.range(dim), indexing="ij")
        return tf.gather_nd(
            self.blocks, tf.stack([rows // width, columns, rows % width], axis=-1)
        )

    def _popularity(self, start: tf.Tensor, stop: tf.Tensor, otherwise: Any) -> Any:
        return otherwise if self.popularity is None else self.popularity[start:stop]


def _variable(value: Any, shape: list[int | None]) -> tf.Variable:
    return tf.Variable(value, trainable=False, shape=shape)
