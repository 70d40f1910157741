"""User sequences: every user's items, oldest first, in one flat array."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.vocabulary import Vocabulary
from tfrs_barlow.ids import OUT_OF_VOCABULARY_ID, PADDING_ID

_IntArray = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class UserSequences:
    """The items of every user in the order the user met them.

    The sequences lie one behind the other in flat arrays (as in a `tf.RaggedTensor`):
    user `i` owns the events from `row_splits[i]` to `row_splits[i + 1]`. Every method
    is vectorized and returns new sequences; the arrays are not to be changed.

    Attributes:
        user_ids: [users] The users, as the log names them.
        item_ids: [events] int32 vocabulary ids, oldest first within a user.
        timestamps: [events] int64.
        row_splits: [users + 1] int64.

    Raises:
        ValueError: If the arrays do not fit together, if an id stands for padding or
            the mask token, or if a user's events are not in the order of time.

    Example:
        >>> sequences = tfrsb.data.UserSequences(
        ...     user_ids=np.array(["ann", "bob"]),
        ...     item_ids=np.array([5, 3, 4, 9], np.int32),
        ...     timestamps=np.array([10, 20, 30, 15]),
        ...     row_splits=np.array([0, 3, 4]),
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
        _require_dtype("item_ids", self.item_ids, np.int32)
        _require_dtype("timestamps", self.timestamps, np.int64)
        _require_dtype("row_splits", self.row_splits, np.int64)
        if self.user_ids.ndim != 1 or len(self.row_splits) != len(self.user_ids) + 1:
            raise ValueError(
                "row_splits must hold one entry more than user_ids, but they have the "
                f"shapes {self.row_splits.shape} and {self.user_ids.shape}."
            )
        if len(self.timestamps) != len(self.item_ids):
            raise ValueError(
                "timestamps and item_ids must be equally long, but they hold "
                f"{len(self.timestamps)} and {len(self.item_ids)} entries."
            )
        splits = self.row_splits
        if (
            splits[0] != 0
            or splits[-1] != len(self.item_ids)
            or (self.lengths < 0).any()
        ):
            raise ValueError(
                f"row_splits must rise from 0 to the {len(self.item_ids)} events."
            )
        if self.item_ids.size and self.item_ids.min() < OUT_OF_VOCABULARY_ID:
            raise ValueError(
                "item_ids must be ids of a Vocabulary, none of them reserved for "
                f"padding or the mask token, but one is {self.item_ids.min()}."
            )
        self._require_order_of_time()

    def _require_order_of_time(self) -> None:
        """Checks that no event is older than the one before it of the same user."""
        steps_back = self.timestamps[1:] < self.timestamps[:-1]
        # Going back is right where a new user begins.
        starts = self.row_splits[1:-1]
        inner_starts = starts[(starts > 0) & (starts < len(self.item_ids))]
        steps_back[inner_starts - 1] = False
        if steps_back.any():
            event = int(steps_back.argmax()) + 1
            raise ValueError(
                "timestamps must not decrease within a user, but they do at event "
                f"{event}."
            )

    def __len__(self) -> int:
        """Returns the number of users."""
        return len(self.user_ids)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """[users] The number of events of every user."""
        return np.diff(self.row_splits)

    def select(self, indices: npt.ArrayLike) -> UserSequences:
        """Returns the users at `indices`, in that order (a boolean mask works too).

        Raises:
            IndexError: If an index is out of range.
        """
        indices = np.asarray(indices)
        if indices.size == 0:
            # NumPy takes an empty list for floats, which are no indices.
            indices = indices.astype(np.int64)
        return self.take(
            self.user_ids[indices], self.row_splits[:-1][indices], self.lengths[indices]
        )

    def without_last(self, count: int = 1) -> UserSequences:
        """Returns the sequences without the last `count` events of every user.

        A user with no more than `count` events stays, with an empty sequence.

        Raises:
            ValueError: If `count` is negative.
        """
        if count < 0:
            raise ValueError(f"count must not be negative, but is {count}.")
        lengths = np.maximum(self.lengths - count, 0)
        return self.take(self.user_ids, self.row_splits[:-1], lengths)

    def most_recent(self, length: int) -> UserSequences:
        """Returns the sequences cut to the last `length` events of every user.

        Raises:
            ValueError: If `length` is not positive.
        """
        require_positive("length", length)
        lengths = np.minimum(self.lengths, length)
        return self.take(self.user_ids, self.row_splits[1:] - lengths, lengths)

    def item_from_end(self, offset: int) -> npt.NDArray[np.int32]:
        """Returns every user's item at `offset` from the end, 1 being the last.

        Returns:
            [users] The ids, `PADDING_ID` for a user with fewer than `offset` events.

        Raises:
            ValueError: If `offset` is not positive.
        """
        require_positive("offset", offset)
        items = np.full(len(self), PADDING_ID, np.int32)
        present = self.lengths >= offset
        items[present] = self.item_ids[self.row_splits[1:][present] - offset]
        return items

    def to_ragged(self) -> tf.RaggedTensor:
        """Returns the item ids as a ragged tensor [users, (events)] of int32."""
        return tf.RaggedTensor.from_row_splits(
            self.item_ids, self.row_splits, validate=False
        )

    def to_dense(self, length: int) -> npt.NDArray[np.int32]:
        """Returns the last `length` items of every user, oldest first.

        Returns:
            [users, length] The ids; shorter sequences are filled up with `PADDING_ID`
            at the end.

        Raises:
            ValueError: If `length` is not positive.
        """
        recent = self.most_recent(length)
        dense = np.full((len(self), length), PADDING_ID, np.int32)
        dense[np.arange(length) < recent.lengths[:, np.newaxis]] = recent.item_ids
        return dense

    def take(
        self, user_ids: npt.NDArray, starts: _IntArray, lengths: _IntArray
    ) -> UserSequences:
        """Returns stretches of the events as sequences of their own.

        Args:
            user_ids: `[rows]`, whose each is.
            starts: `[rows]`, the first event of each, counted through all sequences.
            lengths: `[rows]`, how many events.
        """
        row_splits = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = np.arange(row_splits[-1]) + np.repeat(
            starts - row_splits[:-1], lengths
        )
        return UserSequences(
            user_ids, self.item_ids[events], self.timestamps[events], row_splits
        )

    def __repr__(self) -> str:
        return f"UserSequences({len(self)} users, {len(self.item_ids)} events)"


class UserSplit(NamedTuple):
    """Users divided into three disjoint sets, by index."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def build_sequences(
    log: InteractionLog, vocabulary: Vocabulary | None = None, *, min_length: int = 1
) -> tuple[UserSequences, Vocabulary]:
    """Turns a log into one sequence per user.

    Args:
        log: The interactions, in any order of rows.
        vocabulary: The items to tell apart; all others become `OUT_OF_VOCABULARY_ID`.
            If None, every item with an interaction in `log` gets an id.
        min_length: Users with fewer interactions are left out. (Their items stay in a
            vocabulary that is built here.)

    Returns:
        The sequences, with the users sorted, and the vocabulary of their ids.

    Raises:
        ValueError: If `min_length` is not positive.

    Example:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=5)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> sequences.user_ids
        array([1, 2, 3, 4, 5])
        >>> first_items = vocabulary.decode(sequences.to_dense(10)[:, 0])
    """
    require_positive("min_length", min_length)
    table = log.interactions
    users, user_ids = factorize(table["user_id"])
    items, values = factorize(table["item_id"])
    if vocabulary is None:
        vocabulary = Vocabulary.from_values(values)
    timestamps = table["timestamp"].to_numpy(np.int64)
    order = time_order(users, timestamps)
    sequences = sequences_of_sorted(
        users,
        user_ids,
        vocabulary.encode(values)[items[order]],
        timestamps[order],
        min_length,
    )
    return sequences, vocabulary


def factorize(values: pd.Series | npt.NDArray) -> tuple[npt.NDArray, pd.Index]:
    """Returns the distinct values, sorted, and the place of each value among them."""
    if pd.api.types.is_signed_integer_dtype(values.dtype):
        integers = np.asarray(values, np.int64)
        low, high = int(integers.min()), int(integers.max())
        # Where integers lie dense, a table is several times as fast as hashing.
        if high - low <= 2 * len(integers):
            places = integers - low
            present = np.zeros(high - low + 1, np.bool_)
            present[places] = True
            rank = np.cumsum(present, dtype=np.int32) - np.int32(1)
            return rank[places], pd.Index(np.flatnonzero(present) + low)
    codes, uniques = pd.factorize(values, sort=True)
    return codes, pd.Index(uniques)


def sequences_of_sorted(
    users: npt.NDArray,
    user_ids: pd.Index,
    item_ids: npt.NDArray[np.int32],
    timestamps: npt.NDArray[np.int64],
    min_length: int,
) -> UserSequences:
    """Cuts events that are sorted by user and time into sequences.

    Args:
        users: `[events]`, in any order: the place of each event's user in `user_ids`.
        user_ids: `[users]`
        item_ids: `[events]`, sorted.
        timestamps: `[events]`, sorted.
        min_length: Users with fewer events are left out.
    """
    counts = np.bincount(users, minlength=len(user_ids))
    sequences = UserSequences(
        user_ids=np.asarray(user_ids),
        item_ids=item_ids,
        timestamps=timestamps,
        row_splits=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )
    if counts.min() < min_length:
        sequences = sequences.select(counts >= min_length)
    return sequences


def keys_to_sort_by(
    users: npt.NDArray, timestamps: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], int, int] | None:
    """Packs users and times into integers of the same order: one sort instead of two.

    Args:
        users: `[events]`, from 0 on.
        timestamps: `[events]`

    Returns:
        The keys, `[events]`: a user's number, and in the low bits the time since the
        earliest; how many bits these are; and the earliest time. None if both do not
        fit into 63 bits.
    """
    first, last = int(timestamps.min()), int(timestamps.max())
    time_bits = (last - first).bit_length()
    if int(users.max()).bit_length() + time_bits > 63:
        return None
    keys = users.astype(np.int64)
    keys <<= time_bits
    keys += timestamps  # Which may overflow, and comes back.
    keys -= first
    return keys, time_bits, first


def time_order(
    users: npt.NDArray, timestamps: npt.NDArray[np.int64]
) -> npt.NDArray[np.intp]:
    """Returns the order by user and time; equal events keep the order they have."""
    packed = keys_to_sort_by(users, timestamps)
    if packed is None:
        return np.lexsort((timestamps, users))
    return np.argsort(packed[0], kind="stable")


def split_users(
    num_users: int,
    *,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> UserSplit:
    """Divides users at random into a training, a validation and a test set.

    The indices are in random order, so a prefix of a set is a random sample of it.

    Args:
        num_users: The number of users.
        fractions: The share of each set, to the nearest user.
        seed: The same seed gives the same sets.

    Returns:
        The indices of each set: disjoint, and every user is in one of them.

    Raises:
        ValueError: If `num_users` is not positive, or `fractions` are not three
            non-negative numbers that sum to 1.

    Example:
        >>> split = tfrsb.data.split_users(10, fractions=(0.5, 0.2, 0.3))
        >>> [len(part) for part in split]
        [5, 2, 3]
    """
    require_positive("num_users", num_users)
    if (
        len(fractions) != 3
        or not all(fraction >= 0 for fraction in fractions)
        or not math.isclose(sum(fractions), 1)
    ):
        raise ValueError(
            "fractions must be three non-negative numbers that sum to 1, but they are "
            f"{fractions}."
        )
    users = np.random.default_rng(seed).permutation(num_users)
    bounds = np.rint(np.cumsum(fractions[:2]) * num_users).astype(int)
    return UserSplit(*np.split(users, bounds))


def require_positive(name: str, value: int) -> None:
    """Raises ValueError unless an argument is at least 1."""
    if value < 1:
        raise ValueError(f"{name} must be at least 1, but is {value}.")


def _require_dtype(name: str, array: npt.NDArray, dtype: type[np.generic]) -> None:
    if array.ndim != 1 or array.dtype != dtype:
        raise ValueError(
            f"{name} must be a one-dimensional array of {np.dtype(dtype)}, but it is "
            f"of {array.dtype} and has the shape {array.shape}."
        )
