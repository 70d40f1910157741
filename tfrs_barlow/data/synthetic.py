"""A generated log with the structure of a real one, for tests and first steps."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd

from tfrs_barlow import _checks
from tfrs_barlow.data.interactions import InteractionLog

_IntArray = npt.NDArray[np.int64]
_FloatArray = npt.NDArray[np.float64]

_CATEGORY_NAMES = (
    *("Action", "Adventure", "Animation", "Biography", "Comedy", "Crime"),
    *("Documentary", "Drama", "Family", "Fantasy", "History", "Horror", "Musical"),
    *("Mystery", "Romance", "Sci-Fi", "Sport", "Thriller", "War", "Western"),
)

_SECOND_CATEGORY_SHARE = 0.3  # Items that belong to two categories.
_POPULARITY_EXPONENT = 1.2  # Of the Zipf law within a category.
_TASTE_CONCENTRATION = 0.25  # Of a symmetric Dirichlet: few categories per user.
_CURIOSITY = 0.15  # Sessions whose category does not follow the user's taste.
_NEW_SESSION_RATE = 0.2
_STEP_WIDTH = 0.05  # Standard deviation of a step within a session, on a ring of 1.
_NUM_CANDIDATES = 8
_LENGTH_SIGMA = 0.7  # Of the log-normal distribution of lengths.
_SECONDS_BETWEEN_ITEMS = 600.0
_SECONDS_BETWEEN_SESSIONS = 3 * 86_400.0
_FIRST_TIMESTAMP = 1_577_836_800  # 2020-01-01
_YEAR = 365 * 86_400
_USERS_AT_ONCE = 2_048  # Limits the memory for what users have seen.


@dataclasses.dataclass(frozen=True, eq=False)
class _Catalog:
    """The items, and for every category a shelf with its items.

    An item with two categories is on two shelves. On a shelf, related items are side by
    side, and its ends meet.
    """

    first: _IntArray  # `[items]`, the first category.
    second: _IntArray  # `[items]`, the second category, or -1.
    log_popularity: _FloatArray  # `[items]`
    shelf_items: _IntArray  # `[places]`, the items, shelf after shelf.
    shelf_splits: _IntArray  # `[categories + 1]`, where each shelf begins.


def generate_synthetic_log(
    num_users: int = 2_000,
    num_items: int = 1_000,
    num_categories: int = 12,
    mean_length: int = 60,
    seed: int = 0,
) -> InteractionLog:
    """Generates a log in which the sequences say something about their users.

    Every user likes a few categories, and drifts slowly from one taste to another. A
    user's events come in sessions: a session picks a category by the taste of the
    moment and walks from item to related item, and popular items are met more often.
    Popularity has a long tail, lengths are skewed, and no user meets an item twice.
    Item ids are shuffled: an id says nothing about the item's category.

    Args:
        num_users: The number of users.
        num_items: The number of items.
        num_categories: The number of categories, at most that of items.
        mean_length: The average number of interactions per user, approximately; at most
            half of `num_items`.
        seed: The same arguments give the same log.

    Returns:
        The log, in the order of time.

    Raises:
        TypeError: If an argument is not an integer.
        ValueError: If an argument is out of range.

    Examples:
        >>> log = tfrsb.data.generate_synthetic_log(num_users=100, num_items=200)
        >>> log.interactions.columns.to_list()
        ['user_id', 'item_id', 'timestamp']
        >>> log.interactions["user_id"].nunique()
        100
    """
    num_users = _checks.integer("num_users", num_users, at_least=1)
    num_items = _checks.integer("num_items", num_items, at_least=1)
    num_categories = _checks.integer("num_categories", num_categories, at_least=1)
    mean_length = _checks.integer("mean_length", mean_length, at_least=1)
    seed = _checks.integer("seed", seed, at_least=0)
    if num_categories > num_items:
        raise ValueError(
            "num_categories must be at most num_items, but they are "
            f"{num_categories} and {num_items}."
        )
    if mean_length > num_items / 2:
        raise ValueError(
            "mean_length must be at most half of num_items, as no user meets an item "
            f"twice, but they are {mean_length} and {num_items}."
        )
    num_chunks = -(-num_users // _USERS_AT_ONCE)
    first_seed, *chunk_seeds = np.random.SeedSequence(seed).spawn(1 + num_chunks)
    rng = np.random.default_rng(first_seed)
    catalog = _make_catalog(rng, num_items, num_categories)
    item_ids = rng.permutation(num_items) + 1
    lengths = _draw_lengths(rng, num_users, mean_length, longest=num_items // 2)

    events = [
        _simulate_users(np.random.default_rng(chunk_seed), catalog, chunk)
        for chunk_seed, chunk in zip(
            chunk_seeds, np.array_split(lengths, num_chunks), strict=True
        )
    ]
    items, timestamps = (np.concatenate(arrays) for arrays in zip(*events, strict=True))
    interactions = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(1, num_users + 1), lengths),
            "item_id": item_ids[items],
            "timestamp": timestamps,
        }
    ).sort_values("timestamp", kind="stable", ignore_index=True)
    return InteractionLog(interactions, _describe_items(catalog, item_ids))


def _make_catalog(
    rng: np.random.Generator, num_items: int, num_categories: int
) -> _Catalog:
    """Draws the items: no category is empty, and some are larger than others."""
    shares = rng.dirichlet(np.full(num_categories, 5.0))
    drawn = rng.choice(num_categories, num_items - num_categories, p=shares)
    first = np.sort(np.concatenate([np.arange(num_categories), drawn]))
    # A shift by 1 to num_categories - 1 never hits the first category again.
    shift = rng.integers(1, max(num_categories, 2), num_items)
    has_second = rng.random(num_items) < _SECOND_CATEGORY_SHARE
    has_second &= num_categories > 1
    second = np.where(has_second, (first + shift) % num_categories, -1)
    ranks = np.concatenate([rng.permutation(size) for size in np.bincount(first)])

    position = rng.random(num_items)
    shelf = np.concatenate([first, second[has_second]])
    item = np.concatenate([np.arange(num_items), np.flatnonzero(has_second)])
    order = np.lexsort((position[item], shelf))
    return _Catalog(
        first=first,
        second=second,
        log_popularity=-_POPULARITY_EXPONENT * np.log1p(ranks),
        shelf_items=item[order],
        shelf_splits=np.concatenate([[0], np.cumsum(np.bincount(shelf))]),
    )


def _draw_lengths(
    rng: np.random.Generator, num_users: int, mean_length: int, longest: int
) -> _IntArray:
    """Draws the number of interactions of each user: many short, few long."""
    location = np.log(mean_length) - _LENGTH_SIGMA**2 / 2
    lengths = np.rint(rng.lognormal(location, _LENGTH_SIGMA, num_users))
    return lengths.clip(1, longest).astype(np.int64)


def _simulate_users(
    rng: np.random.Generator, catalog: _Catalog, lengths: _IntArray
) -> tuple[_IntArray, _IntArray]:
    """Returns the items and the timestamps of all users, user after user."""
    # With the longest first, the users with events left are always a prefix.
    by_length = np.argsort(-lengths, kind="stable")
    items, starts_session = _walk(rng, catalog, lengths[by_length])
    back = np.argsort(by_length)
    items, starts_session = items[back], starts_session[back]

    mean_gaps = np.where(
        starts_session, _SECONDS_BETWEEN_SESSIONS, _SECONDS_BETWEEN_ITEMS
    )
    gaps = 1 + rng.exponential(mean_gaps).astype(np.int64)
    births = _FIRST_TIMESTAMP + rng.integers(0, _YEAR, len(lengths))
    timestamps = births[:, np.newaxis] + np.cumsum(gaps, axis=1)
    happened = np.arange(items.shape[1]) < lengths[:, np.newaxis]
    return items[happened], timestamps[happened]


def _walk(
    rng: np.random.Generator, catalog: _Catalog, lengths: _IntArray
) -> tuple[_IntArray, npt.NDArray[np.bool_]]:
    """Walks all users along the shelves, one step of all users at a time.

    `lengths` are in descending order. Returns the item of every step, and whether it
    starts a session: `[users, longest]`.
    """
    num_users, longest = len(lengths), int(lengths[0])
    shelf_sizes = np.diff(catalog.shelf_splits)
    tastes = _draw_tastes(rng, num_users, len(shelf_sizes))
    items = np.zeros((num_users, longest), np.int64)
    starts_session = rng.random((num_users, longest)) < _NEW_SESSION_RATE
    starts_session[:, 0] = True
    seen = np.zeros((num_users, len(catalog.first)), np.bool_)
    shelf = np.zeros(num_users, np.int64)
    place = np.zeros(num_users)  # On the shelf, from 0 to 1.
    for step in range(longest):
        active = np.searchsorted(-lengths, -step)
        fresh = np.flatnonzero(starts_session[:active, step])
        progress = (step / lengths[fresh])[:, np.newaxis]
        taste = (1 - progress) * tastes[0, fresh] + progress * tastes[1, fresh]
        shelf[fresh] = _draw_columns(rng, taste)
        place[fresh] = rng.random(len(fresh))

        size = shelf_sizes[shelf[:active], np.newaxis]
        stride = rng.normal(0, _STEP_WIDTH, (active, _NUM_CANDIDATES))
        nearby = ((place[:active, np.newaxis] + stride) % 1 * size).astype(np.int64)
        nearby = np.minimum(nearby, size - 1)
        start = catalog.shelf_splits[shelf[:active], np.newaxis]
        candidates = catalog.shelf_items[start + nearby]
        chosen = _choose(rng, catalog, candidates, seen[:active])
        users = np.arange(active)
        items[:active, step] = candidates[users, chosen]
        place[:active] = (nearby / size)[users, chosen]
        _replace_seen(rng, items[:active, step], seen[:active])
        seen[users, items[:active, step]] = True
    return items, starts_session


def _draw_tastes(
    rng: np.random.Generator, num_users: int, num_categories: int
) -> _FloatArray:
    """Draws what users like at first and in the end: `[2, users, categories]`."""
    concentration = np.full(num_categories, _TASTE_CONCENTRATION)
    early, other = rng.dirichlet(concentration, (2, num_users))
    tastes = np.stack([early, (early + other) / 2])
    return (1 - _CURIOSITY) * tastes + _CURIOSITY / num_categories


def _draw_columns(rng: np.random.Generator, probabilities: _FloatArray) -> _IntArray:
    """Draws a column of every row of `probabilities`."""
    thresholds = np.cumsum(probabilities, axis=1)[:, :-1]
    return (rng.random((len(probabilities), 1)) > thresholds).sum(axis=1)


def _choose(
    rng: np.random.Generator,
    catalog: _Catalog,
    candidates: _IntArray,
    seen: npt.NDArray[np.bool_],
) -> _IntArray:
    """Draws one of each user's candidates: unseen if possible, and popular."""
    scores = catalog.log_popularity[candidates] + rng.gumbel(size=candidates.shape)
    scores[np.take_along_axis(seen, candidates, axis=1)] = -np.inf
    return scores.argmax(axis=1)


def _replace_seen(
    rng: np.random.Generator, items: _IntArray, seen: npt.NDArray[np.bool_]
) -> None:
    """Replaces, in place, every item its user has seen by any unseen one."""
    users = np.flatnonzero(seen[np.arange(len(items)), items])
    lottery = rng.random((len(users), seen.shape[1]))
    lottery[seen[users]] = -1
    items[users] = lottery.argmax(axis=1)


def _describe_items(catalog: _Catalog, item_ids: _IntArray) -> pd.DataFrame:
    """Builds the items table, sorted by item id."""
    num_categories = len(catalog.shelf_splits) - 1
    names = [
        _CATEGORY_NAMES[k] if k < len(_CATEGORY_NAMES) else f"Category {k + 1}"
        for k in range(num_categories)
    ]
    table = pd.DataFrame(
        {
            "item_id": item_ids,
            "title": [names[k] for k in catalog.first],
            "categories": [
                (names[k],) if other < 0 else (names[k], names[other])
                for k, other in zip(catalog.first, catalog.second, strict=True)
            ],
        }
    ).sort_values("item_id", ignore_index=True)
    numbers = table.groupby("title").cumcount() + 1
    table["title"] = table["title"] + " " + numbers.astype(str).str.zfill(3)
    return table
