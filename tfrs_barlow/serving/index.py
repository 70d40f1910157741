"""The candidates that a model can recommend, and the search among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data import Vocabulary
from tfrs_barlow.serving.items import NOWHERE, ItemTable
from tfrs_barlow.serving.top_k import Score, top_k

_Floats = npt.NDArray[np.float32]

BLOCK = 2**14
"""How many candidates are scored at a time: 64 kB of scores for each query."""


class ExactIndex(tf.Module):
    """Searches all candidates, which are variables outside the graph.

    No shape in the graph depends on the number of candidates, so they can be replaced
    in a SavedModel without a new graph.

    Args:
        items: The candidates.
        embeddings: `[items, dim]`, finite numbers.
        popularity: `[items]`, finite numbers, such as how often each was watched.
        dim: The width that the embeddings must have; None for any.
    """

    def __init__(
        self,
        items: Vocabulary,
        embeddings: npt.ArrayLike | tf.Tensor,
        popularity: npt.ArrayLike | None = None,
        dim: int | None = None,
    ) -> None:
        super().__init__()
        rows = _finite("candidates", embeddings)
        expected = (len(items), rows.shape[-1] if dim is None else dim)
        if rows.shape != expected:
            raise ValueError(
                f"candidates must have the shape [items, dim] = {expected}: a row for "
                "each item, none for the reserved ids, as wide as the output of "
                f"query_tower. But they have the shape {rows.shape}."
            )
        self.popularity: tf.Variable | None = None
        if popularity is not None:
            values = _finite("popularity", popularity)
            if values.shape != (len(items),):
                raise ValueError(
                    f"popularity must have the shape [items] = ({len(items)},): a "
                    f"number for each item. But it has the shape {values.shape}."
                )
            self.popularity = _variable(values, [None])
        self.items = ItemTable(items)
        self.blocks = _variable(_blocks(rows), [None, rows.shape[1], None])
        self.inverse_norms = _variable(_inverse_norms(rows), [None])

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


def _finite(name: str, values: npt.ArrayLike | tf.Tensor) -> _Floats:
    """Returns an argument that must hold finite numbers as float32."""
    try:
        array = np.asarray(values)
        dtype = tf.as_dtype(array.dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers: {error}") from error
    if not (dtype.is_floating or dtype.is_integer):
        raise TypeError(f"{name} must be numbers, but they are of type {array.dtype}.")
    array = np.asarray(tf.cast(array, tf.float32))
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, but they hold NaN or infinity.")
    return array


def _blocks(rows: _Floats) -> _Floats:
    """Returns embeddings as they are searched: `[blocks, dim, items of a block]`.

    TensorFlow multiplies a query with a matrix of columns twice as fast as with one of
    rows, and takes a block of a tensor without copying it. The last block ends in
    zeros.
    """
    count, dim = rows.shape
    width = min(count, BLOCK)
    blocks = np.zeros([-(-count // width), dim, width], np.float32)
    for number, block in enumerate(blocks):
        some = rows[number * width : (number + 1) * width]
        block[:, : len(some)] = some.T
    return blocks


def _inverse_norms(rows: _Floats) -> _Floats:
    """Returns 1 / the length of each embedding; 0 where all of it is 0."""
    norms = np.sqrt(np.einsum("id,id->i", rows, rows, dtype=np.float64))
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    return inverse.astype(np.float32)
