"""Divides a log into what to train on and what to be judged by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfrs_barlow.data.filters import keep_rows
from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.sequences import factorize, require_positive, time_order


class LogSplit(NamedTuple):
    """A log in two parts, each with all `items` and the rows in the same order."""

    train: InteractionLog
    test: InteractionLog


def split_by_time(
    log: InteractionLog,
    *,
    time: int | None = None,
    train_fraction: float | None = None,
) -> LogSplit:
    """Divides a log at one moment: what came before it is for training.

    Nothing that happened later, to any user, is known in training, as it is when a
    model serves. Make the vocabulary of the training part.

    Example:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> train, test = tfrsb.data.split_by_time(log, train_fraction=0.8)
        >>> latest = train.interactions["timestamp"].max()
        >>> bool(latest < test.interactions["timestamp"].min())
        True

    Args:
        log: The log.
        time: The moment: the earliest timestamp of the test part.
        train_fraction: Chooses the moment instead, so that at most this share of the
            interactions comes before it. Those of one time stay together.

    Raises:
        ValueError: If not one of the two is given, `train_fraction` is not between 0
            and 1, or a part is empty.
    """
    if (time is None) == (train_fraction is None):
        raise ValueError(
            "Either time or train_fraction must be given, but they are "
            f"{time!r} and {train_fraction!r}."
        )
    timestamps = log.interactions["timestamp"].to_numpy(np.int64)
    if train_fraction is not None:
        if not 0 < train_fraction < 1:
            raise ValueError(
                f"train_fraction must lie between 0 and 1, but it is {train_fraction}."
            )
        place = int(train_fraction * len(timestamps))
        time = int(np.partition(timestamps, place)[place])
    is_train = timestamps < time
    first, last = timestamps.min(), timestamps.max()
    problem = f"time is {time}, but the log reaches from {first} to {last}"
    return LogSplit(
        keep_rows(log, is_train, problem), keep_rows(log, ~is_train, problem)
    )


def split_last(log: InteractionLog, *, count: int = 1) -> LogSplit:
    """Sets the last interactions of every user apart: leave-one-out.

    The last row is the last of those at one time. Users with `count` interactions or
    fewer are for training alone. Other users' training interactions may be later than
    a test interaction; where that matters, use `split_by_time`.

    Example:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> train, test = tfrsb.data.split_last(log)
        >>> len(test.interactions)
        20

    Args:
        log: The log.
        count: How many to set apart.

    Raises:
        ValueError: If `count` is less than 1, or no user has more than `count`.
    """
    require_positive("count", count)
    timestamps = log.interactions["timestamp"].to_numpy(np.int64)
    users, _ = factorize(log.interactions["user_id"])
    order = time_order(users, timestamps)
    counts = np.bincount(users)
    ends = np.cumsum(counts)
    is_last = np.arange(len(users)) >= np.repeat(ends - count, counts)
    is_test = np.zeros(len(users), np.bool_)
    is_test[order] = is_last & np.repeat(counts > count, counts)
    problem = f"count is {count}, but no user has more interactions"
    test = keep_rows(log, is_test, problem)
    return LogSplit(keep_rows(log, ~is_test, problem), test)
