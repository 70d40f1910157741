"""The synthetic log: reproducible, with the structure its docstring promises."""

import numpy as np
import pandas as pd
import pytest

from tfrs_barlow.data.categories import ItemCategories
from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.sequences import UserSequences, build_sequences
from tfrs_barlow.data.synthetic import generate_synthetic_log


@pytest.fixture(scope="module")
def log() -> InteractionLog:
    return generate_synthetic_log()


@pytest.fixture(scope="module")
def sequences(log: InteractionLog) -> UserSequences:
    return build_sequences(log)[0]


@pytest.fixture(scope="module")
def categories(log: InteractionLog) -> ItemCategories:
    return ItemCategories.from_log(log, build_sequences(log)[1])


def test_has_the_sizes_asked_for() -> None:
    log = generate_synthetic_log(
        num_users=300, num_items=150, num_categories=5, mean_length=20
    )
    assert log.interactions["user_id"].nunique() == 300
    assert log.items["item_id"].tolist() == list(range(1, 151))
    assert log.interactions["item_id"].isin(log.items["item_id"]).all()
    assert log.items["categories"].explode().nunique() == 5
    assert len(log.interactions) / 300 == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize(
    "sizes", [(1, 2, 1, 1), (3, 2, 2, 1), (5, 30, 30, 15), (2_500, 10, 5, 2)]
)
def test_works_at_the_limits(sizes: tuple[int, int, int, int]) -> None:
    log = generate_synthetic_log(*sizes)
    assert log.interactions["user_id"].nunique() == sizes[0]
    assert len(log.items) == sizes[1]
    assert log.items["categories"].explode().nunique() == sizes[2]
    assert not log.interactions.duplicated(["user_id", "item_id"]).any()


def test_same_seed_same_log(log: InteractionLog) -> None:
    again = generate_synthetic_log()
    pd.testing.assert_frame_equal(again.interactions, log.interactions)
    pd.testing.assert_frame_equal(again.items, log.items)


def test_other_seed_other_log(log: InteractionLog) -> None:
    other = generate_synthetic_log(seed=1)
    assert not other.interactions.equals(log.interactions)
    assert not other.items.equals(log.items)


def test_no_user_meets_an_item_twice(log: InteractionLog) -> None:
    assert not log.interactions.duplicated(["user_id", "item_id"]).any()


def test_rows_are_in_the_order_of_time(log: InteractionLog) -> None:
    assert log.interactions["timestamp"].is_monotonic_increasing


def test_time_passes_between_any_two_events_of_a_user(
    log: InteractionLog, sequences: UserSequences
) -> None:
    assert not log.interactions.duplicated(["user_id", "timestamp"]).any()
    gaps = np.diff(sequences.timestamps)
    inside = np.ones(len(gaps), bool)
    inside[sequences.row_splits[1:-1] - 1] = False
    # Minutes within a session, days between two.
    assert np.quantile(gaps[inside], 0.5) < 3_600
    assert np.quantile(gaps[inside], 0.95) > 86_400


def test_lengths_are_skewed(sequences: UserSequences) -> None:
    lengths = sequences.lengths
    assert lengths.mean() == pytest.approx(60, rel=0.05)
    assert np.median(lengths) < 0.85 * lengths.mean()
    assert lengths.max() > 4 * lengths.mean()


def test_popularity_has_a_long_tail(sequences: UserSequences) -> None:
    counts = np.sort(np.bincount(sequences.item_ids))[::-1]
    assert counts[:100].sum() > 0.2 * counts.sum()
    assert counts[500:1_000].sum() < 0.35 * counts.sum()


def test_items_have_one_or_two_categories_and_a_unique_title(
    log: InteractionLog,
) -> None:
    assert log.items["title"].is_unique
    for title, categories in zip(
        log.items["title"], log.items["categories"], strict=True
    ):
        assert title.rsplit(" ", 1)[0] == categories[0]
        assert len(set(categories)) == len(categories)
    assert log.items["categories"].map(len).value_counts().index.tolist() == [1, 2]


def test_item_ids_say_nothing_about_categories(log: InteractionLog) -> None:
    first = log.items["categories"].str[0].astype("category").cat.codes.to_numpy()
    neighbors_agree = (first[1:] == first[:-1]).mean()
    by_chance = (np.bincount(first) / len(first)) @ (np.bincount(first) / len(first))
    assert neighbors_agree == pytest.approx(by_chance, abs=0.03)


def test_users_prefer_few_categories(
    sequences: UserSequences, categories: ItemCategories
) -> None:
    favorites = categories.favorite(sequences)
    members = categories.membership[
        sequences.item_ids, np.repeat(favorites, sequences.lengths)
    ]
    assert members.mean() > 0.4
    # No category is the favorite of so many that guessing it would pay.
    assert np.bincount(favorites).max() < 0.2 * len(favorites)


def test_consecutive_items_are_related(
    sequences: UserSequences, categories: ItemCategories
) -> None:
    members = categories.membership[sequences.item_ids]
    consecutive = (members[1:] & members[:-1]).any(axis=1).mean()
    distant = (members[10:] & members[:-10]).any(axis=1).mean()
    shuffled = np.random.default_rng(0).permutation(members)
    by_chance = (shuffled[1:] & shuffled[:-1]).any(axis=1).mean()
    assert consecutive > distant + 0.1 > by_chance + 0.2


def test_tastes_drift(sequences: UserSequences, categories: ItemCategories) -> None:
    """Neighboring thirds of a sequence agree more than the outer ones."""
    members = categories.membership[sequences.item_ids].astype(float)
    thirds = []
    for part in range(3):
        counts = np.zeros((len(sequences), len(categories.names)))
        for user, (start, stop) in enumerate(
            zip(sequences.row_splits[:-1], sequences.row_splits[1:], strict=True)
        ):
            bounds = np.linspace(start, stop, 4).astype(int)
            counts[user] = members[bounds[part] : bounds[part + 1]].sum(axis=0)
        thirds.append(counts / np.linalg.norm(counts, axis=1, keepdims=True).clip(1))
    neighbors = (thirds[0] * thirds[1]).sum(1).mean()
    outer = (thirds[0] * thirds[2]).sum(1).mean()
    assert outer < neighbors - 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_users": 0}, "num_users must be an integer of at least 1, but it is 0"),
        ({"num_items": -5}, "num_items must be an integer of at least 1, but it is -5"),
        ({"num_categories": 0}, "num_categories must be an integer of at least 1"),
        ({"mean_length": 0}, "mean_length must be an integer of at least 1"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        (
            {"num_items": 5, "num_categories": 6, "mean_length": 2},
            "num_categories must be at most num_items, .* 6 and 5",
        ),
        ({"num_items": 100, "mean_length": 51}, "at most half of num_items"),
    ],
)
def test_refuses_arguments_that_make_no_log(
    arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate_synthetic_log(**arguments)
