"""The item vocabulary: which item has which id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tfrs_barlow.ids import FIRST_ITEM_ID, OUT_OF_VOCABULARY_ID

_NEVER_EQUAL = (
    ["integer", "string"],
    ["integer", "bytes"],
    ["string", "integer"],
    ["string", "bytes"],
)

Items = Sequence[Any] | npt.NDArray[Any] | pd.Series | pd.Index


class Vocabulary:
    """A bijection between items as users know them and consecutive integer ids.

    Ids 0, 1 and 2 are reserved for padding, the mask token and unknown items, so the
    k-th token (from 0) has the id `FIRST_ITEM_ID + k`.

    Args:
        tokens: The items, in the order of their ids: all integers or all strings,
            without duplicates.

    Raises:
        TypeError: If `tokens` are neither all integers nor all strings.
        ValueError: If `tokens` is empty or holds a duplicate.

    Examples:
        >>> vocabulary = tfrsb.data.Vocabulary(["Alien", "Brazil", "Casablanca"])
        >>> vocabulary.encode(["Brazil", "Alien", "Dune"])
        array([4, 3, 2], dtype=int32)
        >>> vocabulary.decode([4, 3])
        array(['Brazil', 'Alien'], dtype=object)
        >>> vocabulary.size
        6
    """

    def __init__(self, tokens: Iterable[int] | Iterable[str]) -> None:
        # A string would pass for a list of its letters.
        if isinstance(tokens, str | bytes) or not isinstance(tokens, Iterable):
            raise TypeError(f"tokens must be a list of items, but it is {tokens!r}.")
        self._index = pd.Index(list(tokens))
        if self._index.empty:
            raise ValueError("tokens must hold at least one item, but it is empty.")
        if self._index.inferred_type not in ("integer", "string"):
            raise TypeError(
                "tokens must be all integers or all strings, but they are "
                f"{self._index.inferred_type}."
            )
        if not self._index.is_unique:
            twice = self._index[self._index.duplicated()][0]
            raise ValueError(f"tokens must be unique, but {twice} is there twice.")

    @classmethod
    def from_values(cls, values: Items) -> Vocabulary:
        """Builds the vocabulary of all distinct `values`, sorted."""
        return cls(pd.Index(values).unique().sort_values())

    @property
    def tokens(self) -> npt.NDArray[np.object_]:
        """The items in the order of their ids, without the reserved ones."""
        return self._index.to_numpy(dtype=object)

    @property
    def size(self) -> int:
        """The number of ids, reserved ones included: the rows of an embedding table."""
        return FIRST_ITEM_ID + len(self._index)

    def encode(self, values: Items) -> npt.NDArray[np.int32]:
        """Returns the ids of `values` (any one-dimensional array of items).

        An unknown item gets `OUT_OF_VOCABULARY_ID`.

        Raises:
            TypeError: If `values` have another type than the tokens (strings and
                integers, for example), so that all of them would be unknown.
        """
        index = pd.Index(values)
        kinds = [self._index.inferred_type, index.inferred_type]
        if kinds in _NEVER_EQUAL:
            raise TypeError(
                f"values must be of the type of the tokens, {kinds[0]}, but they are "
                f"of type {kinds[1]}."
            )
        positions = self._index.get_indexer(index)
        return np.where(
            positions < 0, OUT_OF_VOCABULARY_ID, positions + FIRST_ITEM_ID
        ).astype(np.int32)

    def decode(self, ids: npt.ArrayLike) -> npt.NDArray[np.object_]:
        """Returns the items of integer ids, in an array of the same shape.

        Raises:
            TypeError: If `ids` are not integers.
            ValueError: If an id is reserved or out of range: it stands for no item.
        """
        ids = np.asarray(ids)
        if ids.size and ids.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers, but they are of {ids.dtype}.")
        if ids.size and (ids.min() < FIRST_ITEM_ID or ids.max() >= self.size):
            raise ValueError(
                f"ids must lie in [{FIRST_ITEM_ID}, {self.size}), but they span "
                f"[{ids.min()}, {ids.max()}]."
            )
        return self.tokens[ids.astype(np.int64) - FIRST_ITEM_ID]

    def __len__(self) -> int:
        return len(self._index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._index.equals(other._index)

    def __hash__(self) -> int:
        return hash(tuple(self.tokens))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} items)"
