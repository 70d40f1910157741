"""The candidates with their embeddings and popularity: checked, in one order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data import Vocabulary

BLOCK = 2**14
"""How many candidates are scored at a time: 64 kB of scores for each query."""


class CandidateTable:
    """Items and, in their order, their float32 embeddings and popularity.

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
        self.items = items
        self.embeddings = _finite("candidates", embeddings)
        count = len(items)
        expected = (count, self.embeddings.shape[-1] if dim is None else dim)
        if self.embeddings.shape != expected:
            raise ValueError(
                f"candidates must have the shape [items, dim] = {expected}: a row for "
                "each item, none for the reserved ids, as wide as the output of "
                f"query_tower. But they have the shape {self.embeddings.shape}."
            )
        self.popularity = None
        if popularity is not None:
            self.popularity = _finite("popularity", popularity)
            if self.popularity.shape != (count,):
                raise ValueError(
                    f"popularity must have the shape [items] = ({count},): a number "
                    f"for each item. But it has the shape {self.popularity.shape}."
                )

    @property
    def blocks(self) -> npt.NDArray[np.float32]:
        """`[blocks, dim, items of a block]`, the embeddings as they are searched.

        TensorFlow multiplies a query with a matrix of columns twice as fast as with one
        of rows, and takes a block of a tensor without copying it. The last block ends
        in zeros.
        """
        count, dim = self.embeddings.shape
        width = min(count, BLOCK)
        blocks = np.zeros([-(-count // width), dim, width], np.float32)
        for number, block in enumerate(blocks):
            rows = self.embeddings[number * width : (number + 1) * width]
            block[:, : len(rows)] = rows.T
        return blocks

    @property
    def inverse_norms(self) -> npt.NDArray[np.float32]:
        """`[items]`, 1 / the length of each embedding; 0 where all of it is 0."""
        rows = self.embeddings
        norms = np.sqrt(np.einsum("id,id->i", rows, rows, dtype=np.float64))
        return np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0).astype(
            np.float32
        )


def _finite(name: str, values: npt.ArrayLike | tf.Tensor) -> npt.NDArray[np.float32]:
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
