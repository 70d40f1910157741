"""Splits: training knows nothing of what it is evaluated on."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_barlow.data import (
    InteractionLog,
    build_sequences,
    generate_synthetic_log,
    split_by_time,
    split_last,
    split_users,
)


def make_log(rows: list[tuple[str, int]]) -> InteractionLog:
    """A log of (user, time); an item is the number of its row."""
    table = pd.DataFrame(rows, columns=["user_id", "timestamp"])
    table["item_id"] = np.arange(len(table))
    items = pd.DataFrame({"item_id": [], "title": [], "categories": []})
    return InteractionLog(table, items)


def rows(log: InteractionLog) -> list[int]:
    return log.interactions["item_id"].tolist()


class TestByTime:
    LOG = make_log([("b", 5), ("a", 3), ("b", 4), ("a", 4), ("c", 9)])

    def test_what_came_before_is_for_training(self) -> None:
        train, test = split_by_time(self.LOG, time=4)
        assert (rows(train), rows(test)) == ([1], [0, 2, 3, 4])
        assert test.interactions.index.tolist() == [0, 1, 2, 3]
        assert train.items is self.LOG.items

    @pytest.mark.parametrize(
        ("fraction", "expected"),
        [(0.2, [1]), (0.5, [1]), (0.6, [1, 2, 3]), (0.99, [0, 1, 2, 3])],
    )
    def test_one_time_stays_together(
        self, fraction: float, expected: list[int]
    ) -> None:
        train, test = split_by_time(self.LOG, train_fraction=fraction)
        assert rows(train) == expected
        assert sorted(rows(train) + rows(test)) == [0, 1, 2, 3, 4]

    def test_shares_of_a_real_size(self) -> None:
        log = generate_synthetic_log(num_users=100)
        train, test = split_by_time(log, train_fraction=0.9)
        total = len(log.interactions)
        assert 0.89 * total < len(train.interactions) <= 0.9 * total
        latest = train.interactions["timestamp"].max()
        assert latest < test.interactions["timestamp"].min()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "Either time or train_fraction"),
            ({"time": 4, "train_fraction": 0.5}, "Either time or train_fraction"),
            (
                {"train_fraction": 1.0},
                "train_fraction must be .* below 1, but it is 1.0",
            ),
            ({"train_fraction": 0.1}, "time is 3, but the log reaches from 3 to 9"),
            ({"time": 10}, "time is 10, but the log reaches from 3 to 9"),
        ],
    )
    def test_bad_arguments_are_named(
        self, arguments: dict[str, float], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            split_by_time(self.LOG, **arguments)


class TestLast:
    LOG = make_log([("b", 5), ("a", 3), ("b", 5), ("a", 2), ("c", 9), ("b", 1)])

    def test_the_last_row_of_one_time_is_the_last(self) -> None:
        train, test = split_last(self.LOG)
        assert (rows(train), rows(test)) == ([0, 3, 4, 5], [1, 2])

    def test_two(self) -> None:
        train, test = split_last(self.LOG, count=2)
        assert (rows(train), rows(test)) == ([1, 3, 4, 5], [0, 2])

    def test_agrees_with_sequences(self) -> None:
        log = generate_synthetic_log(num_users=30)
        whole, vocabulary = build_sequences(log)
        train, test = (build_sequences(part, vocabulary)[0] for part in split_last(log))
        expected = whole.without_last()
        np.testing.assert_array_equal(train.item_ids, expected.item_ids)
        np.testing.assert_array_equal(train.row_splits, expected.row_splits)
        np.testing.assert_array_equal(test.item_ids, whole.item_from_end(1))

    def test_bad_arguments_are_named(self) -> None:
        with pytest.raises(ValueError, match="count must be an integer of at least 1"):
            split_last(self.LOG, count=0)
        with pytest.raises(ValueError, match="count is 3, but no user has more"):
            split_last(self.LOG, count=3)


class TestUsers:
    def test_sizes(self) -> None:
        assert [len(part) for part in split_users(1_000)] == [800, 100, 100]

    def test_same_seed_same_split(self) -> None:
        for one, other in zip(split_users(50), split_users(50), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_other_seed_other_split(self) -> None:
        assert split_users(50, seed=1).test.tolist() != split_users(50).test.tolist()

    def test_is_random(self) -> None:
        train = split_users(1_000).train
        assert not (np.diff(train) > 0).all()
        assert 400 < train.mean() < 600

    def test_a_set_may_be_empty(self) -> None:
        assert len(split_users(10, fractions=(0.9, 0.0, 0.1)).validation) == 0

    @given(
        st.integers(1, 200),
        st.sampled_from([(0.8, 0.1, 0.1), (1.0, 0.0, 0.0), (1 / 3, 1 / 3, 1 / 3)]),
        st.integers(0, 5),
    )
    def test_every_user_is_in_one_set(
        self, num_users: int, fractions: tuple[float, float, float], seed: int
    ) -> None:
        split = split_users(num_users, fractions=fractions, seed=seed)
        assert sorted(np.concatenate(split)) == list(range(num_users))
        for part, fraction in zip(split, fractions, strict=True):
            assert abs(len(part) - fraction * num_users) <= 1

    @pytest.mark.parametrize(
        "fractions",
        [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5), (float("nan"), 0.5, 0.5)],
    )
    def test_refuses_fractions_that_do_not_sum_to_1(self, fractions: tuple) -> None:
        with pytest.raises(ValueError, match="fractions must be"):
            split_users(10, fractions=fractions)

    def test_refuses_no_users(self) -> None:
        with pytest.raises(
            ValueError, match="num_users must be an integer of at least 1"
        ):
            split_users(0)
