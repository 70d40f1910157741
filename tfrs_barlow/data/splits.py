"""Divides a log, or its users, into training and evaluation data."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tfrs_barlow import _checks
from tfrs_barlow.data.filters import keep_rows
from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.ordering import factorize, time_order


class LogSplit(NamedTuple):
    """A log in two parts, each with all `items` and the rows in the same order."""

    train: InteractionLog
    test: InteractionLog


class UserSplit(NamedTuple):
    """Users divided into three disjoint sets, by index.

    Attributes:
        train: The users to train on, in random order.
        validation: The users to choose settings by.
        test: The users to evaluate on.
    """

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def split_by_time(
    log: InteractionLog,
    *,
    time: int | None = None,
    train_fraction: float | None = None,
) -> LogSplit:
    """Divides a log at one moment: what came before it is for training.

    Training then knows nothing that happened later, as when a model serves. Make the
    vocabulary from the training part.

    Args:
        log: The log.
        time: The moment: the earliest timestamp of the test part.
        train_fraction: Chooses the moment instead, so that at most this share of the
            interactions comes before it. Those of one time stay together.

    Returns:
        The two parts, `train` and `test`.

    Raises:
        ValueError: If not exactly one of the two is given, `train_fraction` is not
            between 0 and 1, or a part is empty.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> train, test = tfrsb.data.split_by_time(log, train_fraction=0.8)
        >>> latest = train.interactions["timestamp"].max()
        >>> bool(latest < test.interactions["timestamp"].min())
        True
    """
    if (time is None) == (train_fraction is None):
        raise ValueError(
            "Either time or train_fraction must be given, but they are "
            f"{time!r} and {train_fraction!r}."
        )
    timestamps = log.interactions["timestamp"].to_numpy(np.int64)
    if train_fraction is None:
        time = _checks.integer("time", time)
    else:
        share = _checks.number("train_fraction", train_fraction, above=0, below=1)
        place = int(share * len(timestamps))
        time = int(np.partition(timestamps, place)[place])
    is_train = timestamps < time
    first, last = timestamps.min(), timestamps.max()
    problem = f"time is {time}, but the log reaches from {first} to {last}"
    return LogSplit(
        keep_rows(log, is_train, problem), keep_rows(log, ~is_train, problem)
    )


def split_last(log: InteractionLog, *, count: int = 1) -> LogSplit:
    """Sets the last interactions of every user apart: leave-one-out.

    Among interactions at one time, the last row is the last. Users with `count`
    interactions or fewer are for training only. A user's training interactions may be
    later than another user's test interactions; if that matters, use `split_by_time`.

    Args:
        log: The log.
        count: How many to set apart.

    Returns:
        The two parts, `train` and `test`.

    Raises:
        ValueError: If `count` is less than 1, or no user has more than `count`.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=20)
        >>> train, test = tfrsb.data.split_last(log)
        >>> len(test.interactions)
        20
    """
    count = _checks.integer("count", count, at_least=1)
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
        ValueError: If `num_users` is less than 1, `seed` is negative, or `fractions`
            are not three numbers of at least 0 that sum to 1.

    Examples:
        >>> split = tfrsb.data.split_users(10, fractions=(0.5, 0.2, 0.3))
        >>> [len(part) for part in split]
        [5, 2, 3]
    """
    num_users = _checks.integer("num_users", num_users, at_least=1)
    seed = _checks.integer("seed", seed, at_least=0)
    if not isinstance(fractions, tuple | list):
        raise TypeError(f"fractions must be a tuple, but it is {fractions!r}.")
    shares = [_checks.number("fractions", share, at_least=0) for share in fractions]
    if len(shares) != 3 or not math.isclose(sum(shares), 1):
        raise ValueError(
            f"fractions must be three numbers that sum to 1, but they are {fractions}."
        )
    users = np.random.default_rng(seed).permutation(num_users)
    bounds = np.rint(np.cumsum(shares[:2]) * num_users).astype(int)
    return UserSplit(*np.split(users, bounds))
