"""Pairs of views out of the data: two periods of a user, or two with one target."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow.data.batches import endless_steps
from tfrs_barlow.data.sequences import UserSequences
from tfrs_barlow.ids import FIRST_ITEM_ID

_Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class SequencePairs:
    """Pairs of spans of user sequences: each pair is two views of one thing.

    Of a span only its first event and its end are kept, so that a million pairs of long
    spans take little memory. `gather` looks up the items, of as many pairs as wanted.

    Attributes:
        sequences: Whose events the spans are.
        first: [pairs, 2] int64. The first view of a pair holds the events of the flat
            arrays of `sequences` from `first[:, 0]` to before `first[:, 1]`.
        second: [pairs, 2] int64. The same of the second view.
        unpaired_share: The share of the candidates that have no partner, in [0, 1];
            they are either paired with themselves or left out.
        labels: [pairs] int32, the item to predict from either view; None if there is
            none.

    Raises:
        ValueError: If the arrays do not fit together, or a span is empty or does not
            lie within one user's sequence.

    Example:
        >>> sequences = tfrsb.data.UserSequences(
        ...     user_ids=np.array(["ann", "bob"]),
        ...     item_ids=np.array([5, 3, 4, 9], np.int32),
        ...     timestamps=np.array([10, 20, 30, 15]),
        ...     row_splits=np.array([0, 3, 4]),
        ... )
        >>> pairs = tfrsb.data.SequencePairs(
        ...     sequences, first=np.array([[0, 2]]), second=np.array([[2, 3]])
        ... )
        >>> [view.to_dense(3) for view in pairs.gather()]
        [array([[5, 3, 0]], dtype=int32), array([[4, 0, 0]], dtype=int32)]
    """

    sequences: UserSequences
    first: _Ints
    second: _Ints
    unpaired_share: float = 0.0
    labels: npt.NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        for name, spans in (("first", self.first), ("second", self.second)):
            if spans.dtype != np.int64 or spans.shape != (len(self.first), 2):
                raise ValueError(
                    f"{name} must be of int64 and of the shape ({len(self.first)}, 2), "
                    f"but it is of {spans.dtype} and {spans.shape}."
                )
            self._require_within_a_user(name, spans)
        if self.labels is not None and (
            self.labels.dtype != np.int32 or self.labels.shape != (len(self),)
        ):
            raise ValueError(
                f"labels must be of int32 and of the shape ({len(self)},), but are of "
                f"{self.labels.dtype} and {self.labels.shape}."
            )

    def _require_within_a_user(self, name: str, spans: _Ints) -> None:
        starts, ends = spans.T
        # A span that starts outside all of them is refused by its start or its end.
        users = np.clip(self._users(spans), 0, len(self.sequences) - 1)
        row_ends = self.sequences.row_splits[users + 1]
        inside = (starts >= 0) & (starts < ends) & (ends <= row_ends)
        if not inside.all():
            start, end = spans[inside.argmin()]
            raise ValueError(
                f"{name} must be spans with at least one event, each within the "
                f"sequence of one user, but one is from {start} to {end}."
            )

    def __len__(self) -> int:
        """Returns the number of pairs."""
        return len(self.first)

    def most_recent(self, length: int) -> SequencePairs:
        """Returns the pairs with both views cut to their last `length` events.

        Raises:
            ValueError: If `length` is not positive.
        """
        _require_at_least(1, length=length)

        def cut(spans: _Ints) -> _Ints:
            starts, ends = spans.T
            return np.stack([np.maximum(starts, ends - length), ends], axis=1)

        return dataclasses.replace(self, first=cut(self.first), second=cut(self.second))

    def gather(
        self, indices: npt.ArrayLike | None = None
    ) -> tuple[UserSequences, UserSequences]:
        """Looks up the views of some pairs.

        Args:
            indices: Which pairs, in that order (a boolean mask works too); by default
                all of them, which is a lot for the prefixes of a large log.

        Returns:
            The first and the second views: row i of both belongs to one pair. A row has
            the id of the user whose events it holds.

        Raises:
            IndexError: If an index is out of range.
        """
        rows = np.arange(len(self)) if indices is None else np.asarray(indices)
        if rows.size == 0:
            # NumPy takes an empty list for floats, which are no indices.
            rows = rows.astype(np.int64)
        return self._lookup(self.first[rows]), self._lookup(self.second[rows])

    def _lookup(self, spans: _Ints) -> UserSequences:
        starts, ends = spans.T
        user_ids = self.sequences.user_ids[self._users(spans)]
        return self.sequences.take(user_ids, starts, ends - starts)

    def _users(self, spans: _Ints) -> _Ints:
        """[pairs] In which row of `sequences` each span starts."""
        # Of rows that begin at one event, all but the last are empty.
        return np.searchsorted(self.sequences.row_splits, spans[:, 0], side="right") - 1

    def __repr__(self) -> str:
        return (
            f"SequencePairs({len(self)} pairs, unpaired_share="
            f"{self.unpaired_share:.3f})"
        )


def different_period_pairs(
    sequences: UserSequences,
    *,
    min_length: int = 1,
    max_length: int | None = None,
    keep_unpaired: bool = True,
    seed: int = 0,
) -> SequencePairs:
    """Pairs an older with a newer period of every user.

    The sequence is cut in two at a random event, every cut that leaves `min_length`
    events on both sides being equally likely. The views say the same thing about a user
    where taste lasts, and share no event.

    Example:
        >>> sequences = tfrsb.data.UserSequences(
        ...     user_ids=np.array(["ann", "bob"]),
        ...     item_ids=np.array([3, 4, 5, 6, 7, 8, 9], np.int32),
        ...     timestamps=np.arange(7),
        ...     row_splits=np.array([0, 6, 7]),
        ... )
        >>> pairs = tfrsb.data.different_period_pairs(sequences, min_length=2, seed=1)
        >>> older, newer = pairs.gather()
        >>> older.to_dense(4), newer.to_dense(4)
        (array([[3, 4, 5, 0],
                [9, 0, 0, 0]], dtype=int32),
         array([[6, 7, 8, 0],
                [9, 0, 0, 0]], dtype=int32))
        >>> pairs.unpaired_share
        0.5

    Args:
        sequences: The users. Those without an event are left out.
        min_length: The least number of events of a period. A user with fewer than twice
            as many is unpaired.
        max_length: The largest number of events of a period: of a longer one, a random
            stretch of so many is kept. None for no limit.
        keep_unpaired: Whether to pair an unpaired user's whole sequence with itself,
            however long, else to leave the user out.
        seed: The same seed gives the same pairs.

    Returns:
        A pair for each user, in the order of `sequences`; `first` is older. It has no
        labels.

    Raises:
        ValueError: If `min_length` is less than 1, `max_length` is less than
            `min_length`, or no user has an event.
    """
    _require_at_least(1, min_length=min_length)
    if max_length is not None:
        _require_at_least(min_length, max_length=max_length)
    users = np.flatnonzero(sequences.lengths)
    if len(users) == 0:
        raise ValueError("sequences must hold a user with at least one event.")
    starts, ends = sequences.row_splits[users], sequences.row_splits[users + 1]
    whole = np.stack([starts, ends], axis=1)
    long_enough = ends - starts >= 2 * min_length
    starts, ends = whole[long_enough].T

    rng = np.random.default_rng(seed)
    cuts = rng.integers(starts + min_length, ends - min_length, endpoint=True)
    older, newer = whole.copy(), whole.copy()
    older[long_enough, 1] = cuts
    newer[long_enough, 0] = cuts
    if max_length is not None:
        for spans in (older, newer):
            spans[long_enough] = _stretches(spans[long_enough], max_length, rng)
    return _pairs(sequences, older, newer, long_enough, keep_unpaired)


def same_target_pairs(
    sequences: UserSequences,
    *,
    samples: Literal["prefixes", "last"] = "prefixes",
    keep_unpaired: bool = True,
    seed: int = 0,
) -> SequencePairs:
    """Pairs histories that are followed by the same item, the target.

    The partner of a sample is drawn from all other samples with its target, each
    equally likely. Draw anew for every epoch, as `pair_batches` does.

    Example:
        >>> sequences = tfrsb.data.UserSequences(
        ...     user_ids=np.array(["ann", "bob"]),
        ...     item_ids=np.array([3, 4, 5, 6, 7, 5], np.int32),
        ...     timestamps=np.arange(6),
        ...     row_splits=np.array([0, 3, 6]),
        ... )
        >>> pairs = tfrsb.data.same_target_pairs(sequences, keep_unpaired=False)
        >>> history, partner = pairs.gather()
        >>> history.to_dense(2), partner.to_dense(2), pairs.labels
        (array([[3, 4],
                [6, 7]], dtype=int32),
         array([[6, 7],
                [3, 4]], dtype=int32),
         array([5, 5], dtype=int32))
        >>> pairs.unpaired_share
        0.5

    References:
        DuoRec (Qiu et al. 2022, arXiv 2110.05730), pairs all prefixes;
        BT-SR (Razvorotnev et al. 2025, arXiv 2510.26407) one history of each user.

    Args:
        sequences: The users, without the events that are kept for evaluation.
        samples: `"prefixes"`: every event but a user's first is the target of the
            events before it, so that a partner may be of the same user. `"last"`: only
            the last event of each user is, so that a partner is another user.
        keep_unpaired: Whether to pair a sample with itself if no other has its target,
            else to leave it out. Unknown items may be different ones: they count as
            targets that no other sample has.
        seed: The same seed gives the same partners.

    Returns:
        A pair for each sample, in the order of the events of `sequences`, and the
        targets as labels.

    Raises:
        ValueError: If no user has two events, or `samples` is neither of the two.
    """
    if samples not in ("prefixes", "last"):
        raise ValueError(f"samples must be 'prefixes' or 'last', but is {samples!r}.")
    histories = _histories(sequences, samples)
    if len(histories) == 0:
        raise ValueError("sequences must hold a user with at least two events.")
    labels = sequences.item_ids[histories[:, 1]]
    partners = _draw_partners(labels, np.random.default_rng(seed))
    has_partner = (partners != np.arange(len(labels))) & (labels >= FIRST_ITEM_ID)
    partner_histories = np.where(
        has_partner[:, np.newaxis], histories[partners], histories
    )
    return _pairs(
        sequences, histories, partner_histories, has_partner, keep_unpaired, labels
    )


def pair_batches(
    draw_pairs: Callable[[int], SequencePairs],
    *,
    batch_size: int,
    length: int,
    seed: int = 0,
    first_step: int | tf.Variable = 0,
) -> tf.data.Dataset:
    """Returns an endless stream of batches of pairs, drawn anew for every epoch.

    An epoch visits every pair once, in an order of its own. Batches are always full:
    they run on from one epoch into the next.

    Every batch is a pure function of `seed` and its step. A run that was interrupted
    goes on exactly where it stopped if `first_step` is the variable that counts its
    steps, `optimizer.iterations`: it is read each time an iteration over the dataset
    begins.

    Example:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, _ = tfrsb.data.build_sequences(log)
        >>> batches = tfrsb.data.pair_batches(
        ...     lambda seed: tfrsb.data.same_target_pairs(sequences, seed=seed),
        ...     batch_size=8,
        ...     length=10,
        ... )
        >>> batch = next(iter(batches))
        >>> {name: column.shape for name, column in batch.items()}
        {'history': TensorShape([8, 10]),
         'partner': TensorShape([8, 10]),
         'label': TensorShape([8])}

    Args:
        draw_pairs: Returns the pairs of an epoch, given its seed: always as many, and
            with labels or without.
        batch_size: The rows of a batch, at least 1.
        length: The columns of a view, at least 1: the most recent items are kept.
        seed: Fixes the seeds for `draw_pairs` and the orders.
        first_step: The number of the first batch.

    Returns:
        A dataset of dicts: `"history"` and `"partner"`, the first and the second views,
        `[batch_size, length]`, int32, padded on the right with `PADDING_ID`; and
        `"label"`, `[batch_size]`, int32, if the pairs have labels.

    Raises:
        ValueError: If `batch_size` or `length` is less than 1, or `draw_pairs` returns
            no pairs.
    """
    _require_at_least(1, batch_size=batch_size, length=length)
    epochs = _Epochs(draw_pairs, length, seed)
    columns = {"history": [batch_size, length], "partner": [batch_size, length]}
    if epochs.labeled:
        columns["label"] = [batch_size]

    def arrays(step: np.int64) -> tuple[npt.NDArray[np.int32], ...]:
        return epochs.look_up(step * batch_size + np.arange(batch_size))

    def batch(step: tf.Tensor) -> dict[str, tf.Tensor]:
        dtypes = [tf.int32] * len(columns)
        views = tf.numpy_function(arrays, [step], dtypes, stateful=False)
        return {
            name: tf.ensure_shape(view, shape)
            for (name, shape), view in zip(columns.items(), views, strict=True)
        }

    return endless_steps(first_step).map(batch).prefetch(2)


class _Epochs:
    """The pairs of all epochs, one behind the other."""

    def __init__(
        self, draw_pairs: Callable[[int], SequencePairs], length: int, seed: int
    ) -> None:
        self._draw_pairs, self._length, self._seed = draw_pairs, length, seed
        # Two, since a batch may reach from one epoch into the next.
        self._epoch = functools.lru_cache(maxsize=2)(self._draw_epoch)
        pairs, _ = self._epoch(0)
        if len(pairs) == 0:
            raise ValueError("draw_pairs must return at least one pair, but has none.")
        self._count = len(pairs)
        self.labeled = pairs.labels is not None

    def _draw_epoch(self, epoch: int) -> tuple[SequencePairs, _Ints]:
        """Returns the pairs of an epoch and the order to visit them in."""
        seeds = np.random.SeedSequence([self._seed, epoch])
        pair_seed, order_seed = map(int, seeds.generate_state(2))
        pairs = self._draw_pairs(pair_seed).most_recent(self._length)
        return pairs, np.random.default_rng(order_seed).permutation(len(pairs))

    def look_up(self, visits: _Ints) -> tuple[npt.NDArray[np.int32], ...]:
        """Returns the first views, the second views and any labels of some visits."""
        epochs, places = np.divmod(visits, self._count)
        parts = [
            self._look_up_in(int(epoch), places[epochs == epoch])
            for epoch in np.unique(epochs)
        ]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def _look_up_in(
        self, epoch: int, places: _Ints
    ) -> tuple[npt.NDArray[np.int32], ...]:
        pairs, order = self._epoch(epoch)
        if len(pairs) != self._count:
            raise ValueError(
                f"draw_pairs must return {self._count} pairs for every seed, as it did "
                f"for the first, but it has returned {len(pairs)}."
            )
        rows = order[places]
        views = tuple(view.to_dense(self._length) for view in pairs.gather(rows))
        return views if pairs.labels is None else (*views, pairs.labels[rows])


def _histories(sequences: UserSequences, samples: Literal["prefixes", "last"]) -> _Ints:
    """Returns the spans before every target; the target is the event behind."""
    users = np.flatnonzero(sequences.lengths)
    starts, ends = sequences.row_splits[users], sequences.row_splits[users + 1]
    lengths = ends - starts
    if samples == "last":
        return np.stack([starts, ends - 1], axis=1)[lengths >= 2]
    targets = np.delete(np.arange(len(sequences.item_ids)), starts)
    return np.stack([np.repeat(starts, lengths - 1), targets], axis=1)


def _pairs(
    sequences: UserSequences,
    first: _Ints,
    second: _Ints,
    is_paired: npt.NDArray[np.bool_],
    keep_unpaired: bool,
    labels: npt.NDArray[np.int32] | None = None,
) -> SequencePairs:
    """Returns the pairs, with or without those of one span and itself."""
    unpaired_share = float((~is_paired).mean())
    if not keep_unpaired:
        first, second = first[is_paired], second[is_paired]
        labels = None if labels is None else labels[is_paired]
    return SequencePairs(sequences, first, second, unpaired_share, labels)


def _stretches(spans: _Ints, max_length: int, rng: np.random.Generator) -> _Ints:
    """Returns a random stretch of `max_length` events of each span that has more."""
    starts, ends = spans.T
    last_starts = np.maximum(starts, ends - max_length)
    starts = rng.integers(starts, last_starts, endpoint=True)
    return np.stack([starts, np.minimum(starts + max_length, ends)], axis=1)


def _draw_partners(groups: npt.NDArray, rng: np.random.Generator) -> _Ints:
    """Draws for each position another of the same group; itself if there is none."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    place = np.arange(len(order)) - start
    # Some steps on round the group's circle, but not all the way.
    steps = rng.integers(1, np.maximum(size, 2))
    partners = np.empty_like(order)
    partners[order] = order[start + (place + steps) % size]
    return partners


def _require_at_least(least: int, **arguments: int) -> None:
    for name, value in arguments.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, but it is {value}.")
