"""ItemCategories: which item belongs where, and what a user likes best."""

import pathlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_barlow.data.categories import NO_CATEGORY, ItemCategories
from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.readers.movielens import load_movielens
from tfrs_barlow.data.sequences import UserSequences, build_sequences
from tfrs_barlow.data.vocabulary import Vocabulary


def _log(categories: dict[int, tuple[str, ...]]) -> InteractionLog:
    return InteractionLog(
        interactions=pd.DataFrame({"user_id": [1], "item_id": [10], "timestamp": [0]}),
        items=pd.DataFrame(
            {
                "item_id": list(categories),
                "title": [f"Item {item}" for item in categories],
                "categories": list(categories.values()),
            }
        ),
    )


def _sequences(histories: list[list[int]]) -> UserSequences:
    return UserSequences.from_lists(dict(enumerate(histories)))


@pytest.fixture
def categories() -> ItemCategories:
    """The items 3 to 7: two of Action, three of Comedy, one of War, one of none."""
    return ItemCategories.from_log(
        _log(
            {
                10: ("Comedy", "Action"),
                20: ("Comedy",),
                30: ("Action",),
                40: ("War", "Comedy"),
                50: (),
            }
        ),
        Vocabulary([10, 20, 30, 40, 50]),
    )


def test_names_are_sorted(categories: ItemCategories) -> None:
    assert categories.names == ("Action", "Comedy", "War")


def test_membership_has_a_row_per_id(categories: ItemCategories) -> None:
    assert categories.membership.astype(int).tolist() == [
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
        [1, 1, 0],
        [0, 1, 0],
        [1, 0, 0],
        [0, 1, 1],
        [0, 0, 0],
    ]


def test_items_outside_the_vocabulary_do_not_count() -> None:
    log = _log({10: ("War",), 99: ("Action",)})
    categories = ItemCategories.from_log(log, Vocabulary([10, 11]))
    assert categories.names == ("Action", "War")
    assert categories.membership[2:].tolist() == [
        [False, False],
        [False, True],
        [False, False],
    ]


def test_rarest_prefers_the_smaller_category(categories: ItemCategories) -> None:
    # War has one item, Action two, Comedy three.
    assert categories.rarest([3, 4, 5, 6]).tolist() == [0, 1, 0, 2]


def test_rarest_of_no_category(categories: ItemCategories) -> None:
    assert categories.rarest([0, 1, 2, 7]).tolist() == [NO_CATEGORY] * 4


def test_rarest_keeps_the_shape(categories: ItemCategories) -> None:
    assert categories.rarest(np.full((2, 3), 6)).tolist() == [[2, 2, 2], [2, 2, 2]]
    assert categories.rarest(np.empty(0, np.int32)).tolist() == []


def test_rarest_takes_the_first_name_of_equally_rare_ones() -> None:
    log = _log({10: ("War", "Action"), 20: ("War", "Action")})
    categories = ItemCategories.from_log(log, Vocabulary([10, 20]))
    assert categories.rarest([3, 4]).tolist() == [0, 0]


@pytest.mark.parametrize("bad", [-1, 8])
def test_rarest_refuses_ids_out_of_range(categories: ItemCategories, bad: int) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 8\)"):
        categories.rarest([3, bad])


def test_favorite_is_the_most_frequent(categories: ItemCategories) -> None:
    sequences = _sequences([[5, 5, 4], [3, 4, 5, 4], [6, 6, 6, 4]])
    assert categories.favorite(sequences).tolist() == [0, 1, 1]


def test_favorite_takes_the_first_name_of_equally_frequent_ones(
    categories: ItemCategories,
) -> None:
    assert categories.favorite(_sequences([[4, 5], [6]])).tolist() == [0, 1]


def test_favorite_of_users_without_any(categories: ItemCategories) -> None:
    sequences = _sequences([[], [7, 2], [5], []])
    assert categories.favorite(sequences).tolist() == [-1, -1, 0, -1]


def test_favorite_of_nobody(categories: ItemCategories) -> None:
    assert categories.favorite(_sequences([])).tolist() == []


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(2, 7), max_size=8), max_size=5))
def test_favorite_agrees_with_counting(histories: list[list[int]]) -> None:
    members = {3: "ab", 4: "b", 5: "a", 6: "bc", 7: "c"}
    categories = ItemCategories.from_log(
        _log({item: tuple(names) for item, names in members.items()}),
        Vocabulary(members),
    )
    expected = []
    for history in histories:
        counts = [sum(name in members.get(i, "") for i in history) for name in "abc"]
        expected.append(counts.index(max(counts)) if any(counts) else NO_CATEGORY)
    assert categories.favorite(_sequences(histories)).tolist() == expected


def test_the_most_specific_of_the_common_categories(categories: ItemCategories) -> None:
    """Events: Comedy 4 (3 of item 10, 1 of 20), Action 3 + 2 (item 30), War 0."""
    sequences = _sequences([[3, 3, 3], [4, 5, 5, 7]])
    two = categories.most_specific(sequences, limit=2)
    assert two.names == ("Action", "Comedy")
    # Item 10 is of both: Comedy has fewer events. Item 40 is of War and Comedy, and War
    # has fewer, but is not among the two. Item 50 has no category.
    comedy, action = 1, 0
    expected = [comedy, comedy, action, comedy, NO_CATEGORY]
    assert two.rarest([3, 4, 5, 6, 7]).tolist() == expected
    assert two.membership.sum() == 4
    assert categories.most_specific(sequences).names == categories.names
    assert categories.most_specific(sequences).rarest([6]).tolist() == [2]


def test_a_limit_below_1_is_refused(categories: ItemCategories) -> None:
    with pytest.raises(ValueError, match="limit must be an integer of at least 1"):
        categories.most_specific(_sequences([[3]]), limit=0)


def test_refuses_a_log_without_categories() -> None:
    with pytest.raises(ValueError, match="no item has one"):
        ItemCategories.from_log(_log({10: ()}), Vocabulary([10]))


@pytest.mark.parametrize(
    ("names", "membership", "message"),
    [
        ((), np.zeros((4, 0), bool), "names must be at least one"),
        (("b", "a"), np.zeros((4, 2), bool), "names must be .* sorted"),
        (("a", "a"), np.zeros((4, 2), bool), "names must be .* unique"),
        (
            ("a",),
            np.zeros((4, 2), bool),
            r"membership must be of bool .* \[any, 1\], .* \[4, 2\]",
        ),
        (("a",), np.zeros((4, 1)), "it is of float64"),
        (("a",), np.ones((4, 1), bool), "False in the rows of reserved ids"),
    ],
)
def test_refuses_arrays_that_do_not_fit(
    names: tuple, membership: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ItemCategories(names, membership)


def test_knows_the_genres_of_the_real_movielens_1m(ml_1m_dir: pathlib.Path) -> None:
    log = load_movielens("ml-1m", ml_1m_dir)
    sequences, vocabulary = build_sequences(log)
    categories = ItemCategories.from_log(log, vocabulary)
    assert len(categories.names) == 18
    toy_story = vocabulary.encode([1])
    assert categories.names[categories.rarest(toy_story)[0]] == "Animation"
    favorites = categories.favorite(sequences)
    assert favorites.min() >= 0
    names, counts = np.unique(favorites, return_counts=True)
    assert categories.names[names[counts.argmax()]] == "Drama"
