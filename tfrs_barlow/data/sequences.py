"""User sequences: every user's items, oldest first, in one flat array."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.ordering import factorize, time_order
from tfrs_barlow.data.vocabulary import Vocabulary
from tfrs_barlow.ids import OUT_OF_VOCABULARY_ID, PADDING_ID

_IntArray = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class UserSequences:
    """The items of every user in the order the user met them.

    The sequences follow one another in flat arrays, as in a `tf.RaggedTensor`: user `i`
    owns the events from `row_splits[i]` to `row_splits[i + 1]`. Every method is
    vectorized and returns new sequences. Do not change the arrays.

    Attributes:
        user_ids: `[users]`, the users as the log names them.
        item_ids: `[events]`, int32, vocabulary ids, oldest first within a user.
        timestamps: `[events]`, int64.
        row_splits: `[users + 1]`, int64.

    Raises:
        TypeError: If an attribute is not an array.
        ValueError: If the arrays do not fit together, if an id stands for padding or
            the mask token, or if a user's events are not in the order of time.

    Examples:
        >>> sequences = tfrsb.data.UserSequences.from_lists(
        ...     {"ann": [5, 3, 4], "bob": [9]}
        ... )
        >>> sequences.lengths
        array([3, 1])
        >>> sequences.to_dense(2)
        array([[3, 4],
               [9, 0]], dtype=int32)
        >>> sequences.item_from_end(2)
        array([3, 0], dtype=int32)
    """

    user_ids: npt.NDArray
    item_ids: npt.NDArray[np.int32]
    timestamps: npt.NDArray[np.int64]
    row_splits: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        require_array("user_ids", self.user_ids, None, [None])
        require_array("item_ids", self.item_ids, np.int32, [None])
        splits, events = self.row_splits, len(self.item_ids)
        require_array("timestamps", self.timestamps, np.int64, [events])
        require_array("row_splits", splits, np.int64, [len(self.user_ids) + 1])
        if splits[0] != 0 or splits[-1] != events or (self.lengths < 0).any():
            raise ValueError(f"row_splits must rise from 0 to the {events} events.")
        if events and self.item_ids.min() < OUT_OF_VOCABULARY_ID:
            raise ValueError(
                "item_ids must be ids of a Vocabulary, not those reserved for padding "
                f"or the mask token, but one is {self.item_ids.min()}."
            )
        self._require_order_of_time()

    def _require_order_of_time(self) -> None:
        """Checks that no event is older than the one before it of the same user."""
        steps_back = self.timestamps[1:] < self.timestamps[:-1]
        # Where a new user begins, time may go back.
        starts = self.row_splits[1:-1]
        inner_starts = starts[(starts > 0) & (starts < len(self.item_ids))]
        steps_back[inner_starts - 1] = False
        if steps_back.any():
            event = int(steps_back.argmax()) + 1
            raise ValueError(
                "timestamps must not decrease within a user, but they do at event "
                f"{event}."
            )

    @classmethod
    def from_lists(
        cls,
        histories: Mapping[Any, Sequence[int]],
        *,
        timestamps: Mapping[Any, Sequence[int]] | None = None,
    ) -> UserSequences:
        """Makes sequences from the item ids of each user, oldest first.

        Args:
            histories: The item ids by user.
            timestamps: The times of the same events by user. If None, they are 0, 1,
                ... for each user.

        Returns:
            The sequences, with the users in the order of `histories`.

        Raises:
            TypeError: If something else than integers is in the lists.
            ValueError: If `timestamps` do not fit `histories`, or as for the class.

        Examples:
            >>> sequences = tfrsb.data.UserSequences.from_lists({"ann": [5], "bob": []})
            >>> sequences
            UserSequences(2 users, 1 events)
        """
        if timestamps is None:
            timestamps = {user: range(len(items)) for user, items in histories.items()}
        times_in_order = (timestamps[user] for user in histories)
        lengths = {user: len(items) for user, items in histories.items()}
        if lengths != {user: len(times) for user, times in timestamps.items()}:
            raise ValueError(
                "timestamps must hold a time for each event of histories, but they "
                "differ in a user or a length."
            )
        return cls(
            user_ids=np.asarray(pd.Index(list(histories))),
            item_ids=_flat("histories", histories.values(), np.int32),
            timestamps=_flat("timestamps", times_in_order, np.int64),
            row_splits=_splits(list(lengths.values())),
        )

    def __len__(self) -> int:
        """Returns the number of users."""
        return len(self.user_ids)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of events of every user: `[users]`."""
        return np.diff(self.row_splits)

    def select(self, indices: npt.ArrayLike) -> UserSequences:
        """Returns the users at `indices`, in that order (a boolean mask works too).

        Raises:
            IndexError: If an index is out of range.
        """
        rows = as_indices(indices)
        return self.take(
            self.user_ids[rows], self.row_splits[:-1][rows], self.lengths[rows]
        )

    def without_last(self, count: int = 1) -> UserSequences:
        """Returns the sequences without the last `count` events of every user.

        A user with no more than `count` events stays, with an empty sequence.
        """
        count = _checks.integer("count", count, at_least=0)
        lengths = np.maximum(self.lengths - count, 0)
        return self.take(self.user_ids, self.row_splits[:-1], lengths)

    def most_recent(self, length: int) -> UserSequences:
        """Returns the sequences cut to the last `length` events of every user."""
        length = _checks.integer("length", length, at_least=1)
        lengths = np.minimum(self.lengths, length)
        return self.take(self.user_ids, self.row_splits[1:] - lengths, lengths)

    def item_from_end(self, offset: int) -> npt.NDArray[np.int32]:
        """Returns every user's item at `offset` from the end, 1 being the last.

        Returns:
            `[users]`, `PADDING_ID` for a user with fewer than `offset` events.
        """
        offset = _checks.integer("offset", offset, at_least=1)
        items = np.full(len(self), PADDING_ID, np.int32)
        present = self.lengths >= offset
        items[present] = self.item_ids[self.row_splits[1:][present] - offset]
        return items

    def to_ragged(self) -> tf.RaggedTensor:
        """Returns the item ids: `[users, (events)]`, int32."""
        return tf.RaggedTensor.from_row_splits(
            self.item_ids, self.row_splits, validate=False
        )

    def to_dense(self, length: int) -> npt.NDArray[np.int32]:
        """Returns the last `length` items of every user, oldest first.

        Returns:
            `[users, length]`, with `PADDING_ID` after the end of shorter sequences.
        """
        recent = self.most_recent(length)
        dense = np.full((len(self), length), PADDING_ID, np.int32)
        dense[np.arange(length) < recent.lengths[:, np.newaxis]] = recent.item_ids
        return dense

    def take(
        self, user_ids: npt.NDArray, starts: _IntArray, lengths: _IntArray
    ) -> UserSequences:
        """Returns spans of the events as new sequences, one for each of `user_ids`.

        `starts` count through the events of all users.
        """
        row_splits = _splits(lengths)
        events = np.arange(row_splits[-1]) + np.repeat(
            starts - row_splits[:-1], lengths
        )
        return UserSequences(
            user_ids, self.item_ids[events], self.timestamps[events], row_splits
        )

    def __repr__(self) -> str:
        return f"UserSequences({len(self)} users, {len(self.item_ids)} events)"


def build_sequences(
    log: InteractionLog, vocabulary: Vocabulary | None = None, *, min_length: int = 1
) -> tuple[UserSequences, Vocabulary]:
    """Turns a log into one sequence per user.

    Args:
        log: The interactions, in any order of rows.
        vocabulary: The items to distinguish; all others become `OUT_OF_VOCABULARY_ID`.
            If None, every item with an interaction in `log` gets an id.
        min_length: Users with fewer interactions are left out. (Their items stay in a
            vocabulary that is built here.)

    Returns:
        The sequences, with the users sorted, and the vocabulary of their ids.

    Raises:
        ValueError: If `min_length` is less than 1.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=5)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> sequences.user_ids
        array([1, 2, 3, 4, 5])
        >>> first_items = vocabulary.decode(sequences.to_dense(10)[:, 0])
    """
    min_length = _checks.integer("min_length", min_length, at_least=1)
    table = log.interactions
    users, user_ids = factorize(table["user_id"])
    items, values = factorize(table["item_id"])
    if vocabulary is None:
        vocabulary = Vocabulary.from_values(values)
    timestamps = table["timestamp"].to_numpy(np.int64)
    order = time_order(users, timestamps)
    sequences = UserSequences(
        np.asarray(user_ids),
        vocabulary.encode(values)[items[order]],
        timestamps[order],
        _splits(np.bincount(users)),
    )
    if min_length > 1:
        sequences = sequences.select(sequences.lengths >= min_length)
    return sequences, vocabulary


def as_indices(indices: npt.ArrayLike) -> npt.NDArray:
    """Returns indices or a mask as an array.

    NumPy makes an empty list an array of floats, which cannot be indices.
    """
    rows = np.asarray(indices)
    return rows if rows.size else rows.astype(np.int64)


def _splits(lengths: npt.ArrayLike) -> _IntArray:
    """Returns where rows of these lengths begin, and where the last one ends."""
    return np.append(0, np.cumsum(lengths)).astype(np.int64)


def _flat(
    name: str, lists: Iterable[Sequence[int]], dtype: type[np.signedinteger]
) -> npt.NDArray:
    """Returns the integers of all lists in one array."""
    flat = [value for values in lists for value in values]
    integers = np.array(flat if flat else np.empty(0, dtype))
    if not np.issubdtype(integers.dtype, np.integer):
        raise TypeError(
            f"{name} must hold integers, but they are of type {integers.dtype}."
        )
    if not np.array_equal(integers, integers.astype(dtype)):
        raise ValueError(
            f"{name} must hold integers that fit into {np.dtype(dtype)}, but they span "
            f"[{integers.min()}, {integers.max()}]."
        )
    return integers.astype(dtype)


def require_array(
    name: str,
    array: npt.NDArray,
    dtype: type[np.generic] | None,
    shape: Sequence[int | None],
) -> None:
    """Checks the type and the shape of an array; None fits any."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, but it is {array!r}.")
    fits = len(array.shape) == len(shape) and all(
        size in (None, found) for size, found in zip(shape, array.shape, strict=True)
    )
    if not fits or dtype not in (None, array.dtype):
        of_type = "" if dtype is None else f"of {np.dtype(dtype)} and "
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} must be {of_type}of the shape [{sizes}], but it is of "
            f"{array.dtype} and {list(array.shape)}."
        )
