"""Leaves out low ratings, and users and items with few interactions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tfrs_barlow import _checks
from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.ordering import factorize


def filter_ratings(log: InteractionLog, *, min_rating: float) -> InteractionLog:
    """Keeps the interactions with a rating of at least `min_rating`.

    Args:
        log: A log with ratings.
        min_rating: The lowest rating to keep.

    Returns:
        A log with the same `items`, and the rows in the same order.

    Raises:
        ValueError: If the log has no ratings, or all are lower.
        TypeError: If `min_rating` is not a number.

    Examples:
        >>> import pandas as pd
        >>> log = tfrsb.data.read_interactions(
        ...     pd.DataFrame({"u": [1, 1], "i": [7, 8], "t": [5, 6], "r": [2.0, 4.0]}),
        ...     user_column="u",
        ...     item_column="i",
        ...     time_column="t",
        ...     rating_column="r",
        ... )
        >>> tfrsb.data.filter_ratings(log, min_rating=4).interactions[
        ...     "item_id"
        ... ].tolist()
        [8]
    """
    _checks.number("min_rating", min_rating)
    if "rating" not in log.interactions:
        raise ValueError(
            "log must have ratings, but its interactions have no such column."
        )
    ratings = log.interactions["rating"].to_numpy()
    problem = f"min_rating is {min_rating}, but the highest rating is {ratings.max()}"
    return keep_rows(log, ratings >= min_rating, problem)


def filter_k_core(
    log: InteractionLog, *, min_per_user: int = 5, min_per_item: int = 5
) -> InteractionLog:
    """Keeps the users and items that have enough interactions with each other.

    Leaving out an item can leave a user with too few, and so on. So this is repeated
    until all users and items have enough. What remains is the largest such part of the
    log, the k-core.

    Args:
        log: The log.
        min_per_user: The fewest interactions of a user; 1 keeps every user.
        min_per_item: The fewest interactions of an item; 1 keeps every item.

    Returns:
        A log with the same `items`, and the rows in the same order.

    Raises:
        ValueError: If an argument is less than 1, or nothing is left.
        TypeError: If an argument is not an integer.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=100, num_items=200)
        >>> core = tfrsb.data.filter_k_core(log, min_per_user=5, min_per_item=10)
        >>> int(core.interactions["item_id"].value_counts().min()) >= 10
        True
    """
    min_per_user = _checks.integer("min_per_user", min_per_user, at_least=1)
    min_per_item = _checks.integer("min_per_item", min_per_item, at_least=1)
    users, _ = factorize(log.interactions["user_id"])
    items, _ = factorize(log.interactions["item_id"])
    rows = np.arange(len(users))
    while True:
        is_kept = _frequent(users[rows], min_per_user)
        is_kept &= _frequent(items[rows], min_per_item)
        if is_kept.all():
            break
        rows = rows[is_kept]
    mask = np.zeros(len(users), np.bool_)
    mask[rows] = True
    problem = f"min_per_user is {min_per_user} and min_per_item is {min_per_item}"
    return keep_rows(log, mask, problem)


def keep_rows(
    log: InteractionLog, mask: npt.NDArray[np.bool_], problem: str
) -> InteractionLog:
    """Returns the log with the interactions in `mask`, or raises a ValueError."""
    if not mask.any():
        raise ValueError(f"No interaction is left: {problem}.")
    interactions = log.interactions[mask].reset_index(drop=True)
    return InteractionLog(interactions, log.items)


def _frequent(codes: npt.NDArray, least: int) -> npt.NDArray[np.bool_]:
    """Whether the value in each row is in at least so many rows."""
    return (np.bincount(codes) >= least)[codes]
