"""Pairs of views from the data: two periods of a user, or two with one target."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.data.batches import checked_first_step, endless_steps
from tfrs_barlow.data.sequences import UserSequences, as_indices, require_array
from tfrs_barlow.ids import FIRST_ITEM_ID

_Ints = npt.NDArray[np.int64]
_ItemIds = npt.NDArray[np.int32]

Samples = Literal["prefixes", "last"]
"""Which events of a user are targets: all but the first, or the last only."""


@dataclasses.dataclass(frozen=True, eq=False)
class SequencePairs:
    """Pairs of spans of user sequences: each pair is two views of one thing.

    Only the first event and the end of a span are stored, so that a million pairs of
    long spans take little memory. `gather` looks up the items of the pairs you want.

    Attributes:
        sequences: The sequences that the spans are parts of.
        first: `[pairs, 2]`, int64. The first view of a pair holds the events of the
            flat arrays of `sequences` from `first[:, 0]` to before `first[:, 1]`.
        second: `[pairs, 2]`, int64, the same for the second view.
        unpaired_share: The share of the candidates without a partner, from 0 to 1; they
            are either paired with themselves or left out.
        labels: `[pairs]`, int32, the item to predict from either view, or None.

    Raises:
        ValueError: If the arrays do not fit together, or a span is empty or does not
            lie within one user's sequence.

    Examples:
        >>> sequences = tfrsb.data.UserSequences.from_lists({"ann": [5, 3, 4]})
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
    labels: _ItemIds | None = None

    def __post_init__(self) -> None:
        _checks.number("unpaired_share", self.unpaired_share, at_least=0, at_most=1)
        for name, spans in (("first", self.first), ("second", self.second)):
            require_array(name, spans, np.int64, [len(self.first), 2])
            self._require_within_a_user(name, spans)
        if self.labels is not None:
            require_array("labels", self.labels, np.int32, [len(self)])

    def _require_within_a_user(self, name: str, spans: _Ints) -> None:
        starts, ends = spans.T
        # A span that starts outside all users is refused by its start or its end.
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
        """Returns the pairs with both views cut to their last `length` events."""
        length = _checks.integer("length", length, at_least=1)

        def cut(spans: _Ints) -> _Ints:
            starts, ends = spans.T
            return np.stack([np.maximum(starts, ends - length), ends], axis=1)

        return dataclasses.replace(self, first=cut(self.first), second=cut(self.second))

    def gather(
        self, indices: npt.ArrayLike | None = None
    ) -> tuple[UserSequences, UserSequences]:
        """Looks up the views of some pairs.

        Args:
            indices: Which pairs, in that order (a boolean mask works too). If None, all
                of them, which takes much memory for the prefixes of a large log.

        Returns:
            The first and the second views: row i of both belongs to one pair. A row has
            the id of the user whose events it holds.

        Raises:
            IndexError: If an index is out of range.
        """
        rows = slice(None) if indices is None else as_indices(indices)
        return self._lookup(self.first[rows]), self._lookup(self.second[rows])

    def _lookup(self, spans: _Ints) -> UserSequences:
        starts, ends = spans.T
        user_ids = self.sequences.user_ids[self._users(spans)]
        return self.sequences.take(user_ids, starts, ends - starts)

    def _users(self, spans: _Ints) -> _Ints:
        """Returns the row of `sequences` in which each span starts."""
        # Of the rows that begin at one event, all but the last are empty.
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

    Each sequence is cut in two at a random event; all cuts that leave `min_length`
    events on both sides are equally likely. The two views share what lasts of a user's
    taste, and no event.

    Args:
        sequences: The users. Those without an event are left out.
        min_length: The least number of events of a period. A user with fewer than twice
            as many is unpaired.
        max_length: The largest number of events of a period: of a longer one, a random
            span of this length is kept. None for no limit.
        keep_unpaired: Whether to pair an unpaired user's whole sequence, of any length,
            with itself; otherwise the user is left out.
        seed: The same seed gives the same pairs.

    Returns:
        A pair for each user, in the order of `sequences`; `first` is older. It has no
        labels.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `min_length` is less than 1, `max_length` is less than
            `min_length`, `seed` is negative, or no user has an event.

    Examples:
        >>> sequences = tfrsb.data.UserSequences.from_lists(
        ...     {"ann": [3, 4, 5, 6, 7, 8], "bob": [9]}
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
    """
    min_length = _checks.integer("min_length", min_length, at_least=1)
    if max_length is not None:
        max_length = _checks.integer("max_length", max_length, at_least=min_length)
    keep_unpaired = _checks.boolean("keep_unpaired", keep_unpaired)
    rng = np.random.default_rng(_checks.integer("seed", seed, at_least=0))
    users = np.flatnonzero(sequences.lengths)
    if len(users) == 0:
        raise ValueError("sequences must hold a user with at least one event.")
    whole = np.stack([sequences.row_splits[users], sequences.row_splits[users + 1]], 1)
    long_enough = np.diff(whole)[:, 0] >= 2 * min_length
    starts, ends = whole[long_enough].T
    cuts = rng.integers(starts + min_length, ends - min_length, endpoint=True)
    older, newer = whole.copy(), whole.copy()
    older[long_enough, 1] = cuts
    newer[long_enough, 0] = cuts
    if max_length is not None:
        for spans in (older, newer):
            spans[long_enough] = _random_parts(spans[long_enough], max_length, rng)
    return _pairs(sequences, older, newer, long_enough, keep_unpaired)


def same_target_pairs(
    sequences: UserSequences,
    *,
    samples: Samples = "prefixes",
    keep_unpaired: bool = True,
    seed: int = 0,
) -> SequencePairs:
    """Pairs histories that are followed by the same item, the target.

    The partner of a sample is drawn from all other samples with its target, each
    equally likely. Draw again for every epoch, as `pair_batches` does.

    Args:
        sequences: The users, without the events that are kept for evaluation.
        samples: `"prefixes"`: every event but a user's first is the target of the
            events before it, so that a partner may be of the same user. `"last"`: only
            the last event of each user is, so that a partner is another user.
        keep_unpaired: Whether to pair a sample with itself if no other has its target;
            otherwise it is left out. Unknown items may be different ones: each counts
            as a target that no other sample has.
        seed: The same seed gives the same partners.

    Returns:
        A pair for each sample, in the order of the events of `sequences`, and the
        targets as labels.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If no user has two events, `seed` is negative, or `samples` is
            unknown.

    Examples:
        >>> sequences = tfrsb.data.UserSequences.from_lists(
        ...     {"ann": [3, 4, 5], "bob": [6, 7, 5]}
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
        - Qiu et al. (2022), "Contrastive Learning for Representation Degeneration
          Problem in Sequential Recommendation" (DuoRec, all prefixes),
          https://arxiv.org/abs/2110.05730
        - Razvorotnev et al. (2025), BT-SR (one history of each user),
          https://arxiv.org/abs/2510.26407
    """
    samples = _checks.one_of("samples", samples, get_args(Samples))
    keep_unpaired = _checks.boolean("keep_unpaired", keep_unpaired)
    rng = np.random.default_rng(_checks.integer("seed", seed, at_least=0))
    histories = _histories(sequences, samples)
    if len(histories) == 0:
        raise ValueError("sequences must hold a user with at least two events.")
    labels = sequences.item_ids[histories[:, 1]]
    partners = _draw_partners(labels, rng)
    has_partner = (partners != np.arange(len(labels))) & (labels >= FIRST_ITEM_ID)
    second = np.where(has_partner[:, np.newaxis], histories[partners], histories)
    return _pairs(sequences, histories, second, has_partner, keep_unpaired, labels)


def pair_batches(
    draw_pairs: Callable[[int], SequencePairs],
    *,
    batch_size: int,
    length: int,
    seed: int = 0,
    first_step: int | tf.Variable = 0,
) -> tf.data.Dataset:
    """Returns an endless stream of batches of pairs, drawn again for every epoch.

    An epoch visits every pair once, in a new random order. All batches are full: they
    continue from one epoch into the next.

    Every batch is a pure function of `seed` and its step. To resume an interrupted run
    where it stopped, pass the variable that counts its steps, `optimizer.iterations`,
    as `first_step`: it is read each time an iteration over the dataset begins.

    Args:
        draw_pairs: Returns the pairs of an epoch, given its seed: always the same
            number of pairs, and always with labels or always without.
        batch_size: The rows of a batch.
        length: The columns of a view: the most recent items are kept.
        seed: Determines the seeds for `draw_pairs` and the orders.
        first_step: The number of the first batch.

    Returns:
        A dataset of dicts: `"history"` and `"partner"`, the first and the second views,
        `[batch_size, length]`, int32, padded on the right with `PADDING_ID`; and
        `"label"`, `[batch_size]`, int32, if the pairs have labels.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `batch_size` or `length` is less than 1, `seed` or `first_step`
            is negative, or `draw_pairs` returns no pairs.

    Examples:
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
    """
    batch_size = _checks.integer("batch_size", batch_size, at_least=1)
    length = _checks.integer("length", length, at_least=1)
    seed = _checks.integer("seed", seed, at_least=0)
    first_step = checked_first_step(first_step)
    if not callable(draw_pairs):
        raise TypeError(f"draw_pairs must be a function, but it is {draw_pairs!r}.")
    epochs = _Epochs(draw_pairs, length, seed)
    columns = {"history": [batch_size, length], "partner": [batch_size, length]}
    if epochs.labeled:
        columns["label"] = [batch_size]

    def arrays(step: np.int64) -> tuple[_ItemIds, ...]:
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
    """The pairs of all epochs, one after the other."""

    def __init__(
        self, draw_pairs: Callable[[int], SequencePairs], length: int, seed: int
    ) -> None:
        self._draw_pairs, self._length, self._seed = draw_pairs, length, seed
        # Two, since a batch may continue from one epoch into the next.
        self._epoch = functools.lru_cache(maxsize=2)(self._draw_epoch)
        pairs, _ = self._epoch(0)
        if len(pairs) == 0:
            raise ValueError("draw_pairs must return at least one pair.")
        self._count = len(pairs)
        self.labeled = pairs.labels is not None

    def _draw_epoch(self, epoch: int) -> tuple[SequencePairs, _Ints]:
        """Returns the pairs of an epoch and the order to visit them in."""
        seeds = np.random.SeedSequence([self._seed, epoch])
        pair_seed, order_seed = map(int, seeds.generate_state(2))
        pairs = self._draw_pairs(pair_seed).most_recent(self._length)
        return pairs, np.random.default_rng(order_seed).permutation(len(pairs))

    def look_up(self, visits: _Ints) -> tuple[_ItemIds, ...]:
        """Returns the first views, the second views and any labels of some visits."""
        epochs, places = np.divmod(visits, self._count)
        parts = [
            self._look_up_in(int(epoch), places[epochs == epoch])
            for epoch in np.unique(epochs)
        ]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def _look_up_in(self, epoch: int, places: _Ints) -> tuple[_ItemIds, ...]:
        pairs, order = self._epoch(epoch)
        if len(pairs) != self._count:
            raise ValueError(
                f"draw_pairs must return {self._count} pairs for every seed, as it did "
                f"for the first, but it has returned {len(pairs)}."
            )
        rows = order[places]
        views = tuple(view.to_dense(self._length) for view in pairs.gather(rows))
        return views if pairs.labels is None else (*views, pairs.labels[rows])


def _histories(sequences: UserSequences, samples: Samples) -> _Ints:
    """Returns the spans before every target; the target is the event after them."""
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
    labels: _ItemIds | None = None,
) -> SequencePairs:
    """Returns the pairs, with or without the spans that are paired with themselves."""
    unpaired_share = float((~is_paired).mean())
    if not keep_unpaired:
        first, second = first[is_paired], second[is_paired]
        labels = None if labels is None else labels[is_paired]
    return SequencePairs(sequences, first, second, unpaired_share, labels)


def _random_parts(spans: _Ints, max_length: int, rng: np.random.Generator) -> _Ints:
    """Returns a random part of `max_length` events of each span that is longer."""
    starts, ends = spans.T
    last_starts = np.maximum(starts, ends - max_length)
    starts = rng.integers(starts, last_starts, endpoint=True)
    return np.stack([starts, np.minimum(starts + max_length, ends)], axis=1)


def _draw_partners(groups: _ItemIds, rng: np.random.Generator) -> _Ints:
    """Draws for each position another of the same group, or itself if it is alone."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    place = np.arange(len(order)) - start
    # A random number of steps around the circle of the group, but not all the way.
    steps = rng.integers(1, np.maximum(size, 2))
    partners = np.empty_like(order)
    partners[order] = order[start + (place + steps) % size]
    return partners
