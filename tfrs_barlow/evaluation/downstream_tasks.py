"""The tasks an encoder is judged by: what it may read, and what it must predict.

- *next item*: the last item of a user, ranked among all, from those before it;
- *next category*: the category of that item;
- *favorite category*: the category most frequent in the user's whole history;
- *future category*: the same over the last fifth of it, from what comes before.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from tfrs_barlow import _checks
from tfrs_barlow.data import ItemCategories, UserSequences, UserSplit

TaskName = Literal["next_item", "next_category", "favorite_category", "future_category"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)

FUTURE_SHARE = 0.2
"""The share of a history, rounded up, that `future_category` holds back."""


class DownstreamTask(NamedTuple):
    """One label per user.

    Attributes:
        histories: What an encoder may read of each user.
        labels: `[users]`, integers: an item id, or a class from 0 on; negative for a
            user without a label.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, _ = tfrsb.data.build_sequences(log)
        >>> is_active = (sequences.lengths > 30).astype(np.int64)
        >>> task = tfrsb.evaluation.DownstreamTask(sequences.most_recent(5), is_active)
        >>> len(task.select(np.array([0, 1])).labels)
        2
    """

    histories: UserSequences
    labels: npt.NDArray[np.int64]

    def select(self, users: npt.NDArray[np.int64]) -> DownstreamTask:
        """Returns the task for those users at `users` that have a label."""
        users = users[self.labels[users] >= 0]
        return DownstreamTask(self.histories.select(users), self.labels[users])


def downstream_task(
    name: TaskName, sequences: UserSequences, categories: ItemCategories | None = None
) -> DownstreamTask:
    """Returns what a task asks of every user.

    Args:
        name: `"next_item"`, `"next_category"`, `"favorite_category"` or
            `"future_category"`.
        sequences: All users, each with at least two events.
        categories: Those of the items; the next item needs none. The next category is
            the rarest one of an item.

    Raises:
        ValueError: If `name` is unknown, a user has fewer than two events, or
            `categories` are missing.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log, min_length=3)
        >>> categories = tfrsb.data.ItemCategories.from_log(log, vocabulary)
        >>> task = tfrsb.evaluation.downstream_task(
        ...     "next_category", sequences, categories
        ... )
        >>> bool((task.histories.lengths == sequences.lengths - 1).all())
        True
    """
    _checks.one_of("name", name, TASKS)
    _checks.instance("sequences", sequences, UserSequences)
    if (sequences.lengths < 2).any():
        raise ValueError("sequences must hold at least two events for every user.")
    last = sequences.item_from_end(1)
    if name == "next_item":
        return DownstreamTask(sequences.without_last(), last.astype(np.int64))
    if categories is None:
        raise ValueError(f"categories must be given for {name}.")
    _checks.instance("categories", categories, ItemCategories)
    if name == "next_category":
        labels = categories.rarest(last).astype(np.int64)
        return DownstreamTask(sequences.without_last(), labels)
    if name == "favorite_category":
        return DownstreamTask(sequences, categories.favorite(sequences))
    held_back = np.ceil(FUTURE_SHARE * sequences.lengths).astype(np.int64)
    starts, ends = sequences.row_splits[:-1], sequences.row_splits[1:]
    future = sequences.take(sequences.user_ids, ends - held_back, held_back)
    past = sequences.take(sequences.user_ids, starts, sequences.lengths - held_back)
    return DownstreamTask(past, categories.favorite(future))


def users_with_labels(split: UserSplit, fraction: float) -> npt.NDArray[np.int64]:
    """Returns the training users whose labels are known: at least one.

    The users of a smaller fraction are among those of a larger one.

    Args:
        split: The users.
        fraction: The share of the training users, above 0 and at most 1.

    Raises:
        TypeError, ValueError: If `fraction` is not such a number.

    Examples:
        >>> split = tfrsb.data.split_users(100)
        >>> len(tfrsb.evaluation.users_with_labels(split, 0.1))
        8
    """
    _checks.instance("split", split, UserSplit)
    fraction = _checks.number("fraction", fraction, above=0, at_most=1)
    return split.train[: max(1, round(fraction * len(split.train)))]
