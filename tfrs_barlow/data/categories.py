"""The categories of items: labels for probes, and a way to look at results."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import pandas as pd

from tfrs_barlow import _checks
from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.sequences import UserSequences, require_array
from tfrs_barlow.data.vocabulary import Vocabulary
from tfrs_barlow.ids import FIRST_ITEM_ID

NO_CATEGORY = -1
"""The category of an item or a user without one."""


@dataclasses.dataclass(frozen=True, eq=False)
class ItemCategories:
    """Which item belongs to which categories; an item can belong to several or none.

    Attributes:
        names: The categories, sorted; a category is identified by its position here.
        membership: `[vocabulary size, categories]`, bool, by item id. The reserved ids
            belong to no category.

    Raises:
        ValueError: If `names` are empty, unsorted or not unique, or `membership` does
            not have the form above.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> categories = tfrsb.data.ItemCategories.from_log(log, vocabulary)
        >>> labels = categories.favorite(sequences)
        >>> first = categories.names[labels[0]]
    """

    names: tuple[str, ...]
    membership: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if not isinstance(self.names, tuple):
            raise TypeError(f"names must be a tuple, but they are {self.names!r}.")
        if not self.names or list(self.names) != sorted(set(self.names)):
            raise ValueError(
                "names must be at least one, sorted and unique, but they are "
                f"{self.names}."
            )
        columns = [None, len(self.names)]
        require_array("membership", self.membership, np.bool_, columns)
        if self.membership[:FIRST_ITEM_ID].any():
            raise ValueError("membership must be False in the rows of reserved ids.")

    @classmethod
    def from_log(cls, log: InteractionLog, vocabulary: Vocabulary) -> ItemCategories:
        """Reads the categories of the vocabulary's items from `log.items`.

        Every category of `log.items` gets a column, even if no item of the vocabulary
        belongs to it, so that logs of one catalog agree on the columns.

        Raises:
            ValueError: If no item has a category.
        """
        pairs = log.items[["item_id", "categories"]].explode("categories").dropna()
        columns, names = pd.factorize(pairs["categories"], sort=True)
        if len(names) == 0:
            raise ValueError("log.items must have categories, but no item has one.")
        membership = np.zeros((vocabulary.size, len(names)), np.bool_)
        rows = vocabulary.encode(pairs["item_id"])
        membership[rows, columns] = True
        # Items outside the vocabulary share a reserved id, which has no category.
        membership[:FIRST_ITEM_ID] = False
        return cls(tuple(names), membership)

    def most_specific(
        self, sequences: UserSequences, *, limit: int = 20
    ) -> ItemCategories:
        """Returns categories of which each item has at most one.

        Of the `limit` categories with the most events in `sequences`, an item keeps the
        one with the fewest: the most specific one that is common enough to learn. A
        category that nearly all items share (restaurants on Yelp) says little.

        Args:
            sequences: Sequences with the ids of the vocabulary.
            limit: How many categories to keep.
        """
        limit = _checks.integer("limit", limit, at_least=1)
        item_counts = np.bincount(sequences.item_ids, minlength=len(self.membership))
        events = item_counts @ self.membership
        # Sorted again: names are sorted, and so are the categories.
        kept = np.sort(np.argsort(-events, kind="stable")[:limit])
        membership = self.membership[:, kept]
        sizes = np.where(membership, events[kept], np.iinfo(np.int64).max)
        single = np.zeros_like(membership)
        single[np.arange(len(single)), sizes.argmin(axis=1)] = True
        return ItemCategories(
            tuple(self.names[category] for category in kept), membership & single
        )

    def rarest(self, item_ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Returns the rarest category of every item: the one that says most about it.

        It is the category with the fewest items in the vocabulary; ties go to the first
        name.

        Args:
            item_ids: Vocabulary ids of any shape.

        Returns:
            The categories, in an array of the same shape; -1 for an item without any.

        Raises:
            ValueError: If an id is out of range.
        """
        item_ids = np.asarray(item_ids)
        size = len(self.membership)
        if item_ids.size and (item_ids.min() < 0 or item_ids.max() >= size):
            raise ValueError(
                f"item_ids must lie in [0, {size}), but they span "
                f"[{item_ids.min()}, {item_ids.max()}]."
            )
        return self._rarest_by_id[item_ids]

    @functools.cached_property
    def _rarest_by_id(self) -> npt.NDArray[np.int64]:
        """The rarest category of every id: `[vocabulary size]`."""
        num_items = self.membership.sum(axis=0)
        sizes = np.where(self.membership, num_items, np.iinfo(np.int64).max)
        return np.where(self.membership.any(axis=1), sizes.argmin(axis=1), NO_CATEGORY)

    def favorite(self, sequences: UserSequences) -> npt.NDArray[np.int64]:
        """Returns the most frequent category of every user's sequence.

        An item counts once for each of its categories; ties go to the first name.

        Args:
            sequences: Sequences with the ids of the vocabulary.

        Returns:
            The categories, `[users]`; -1 for a user whose items have no category.
        """
        counts = np.zeros((len(sequences), len(self.names)), np.int64)
        # Category by category: [events, categories] would not fit for large logs.
        for category in range(len(self.names)):
            hits = self.membership[sequences.item_ids, category]
            hits_before = np.concatenate([[0], np.cumsum(hits)])
            counts[:, category] = np.diff(hits_before[sequences.row_splits])
        return np.where(counts.any(axis=1), counts.argmax(axis=1), NO_CATEGORY)
