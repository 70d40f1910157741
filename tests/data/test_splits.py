"""What a split lets training know: nothing of what it is judged by."""

import numpy as np
import pandas as pd
import pytest

from tfrs_barlow.data import (
    InteractionLog,
    build_sequences,
    generate_synthetic_log,
    split_by_time,
    split_last,
)


def make_log(rows):
    """A log of (user, time), whose items tell the row."""
    table = pd.DataFrame(rows, columns=["user_id", "timestamp"])
    table["item_id"] = np.arange(len(table))
    items = pd.DataFrame({"item_id": [], "title": [], "categories": []})
    return InteractionLog(table, items)


def rows(log):
    return log.interactions["item_id"].tolist()


class TestByTime:
    LOG = make_log([("b", 5), ("a", 3), ("b", 4), ("a", 4), ("c", 9)])

    def test_what_came_before_is_for_training(self):
        train, test = split_by_time(self.LOG, time=4)
        assert (rows(train), rows(test)) == ([1], [0, 2, 3, 4])
        assert test.interactions.index.tolist() == [0, 1, 2, 3]
        assert train.items is self.LOG.items

    @pytest.mark.parametrize(
        ("fraction", "expected"), [(0.2, [1]), (0.5, [1]), (0.6, [1, 2, 3]), (0.99, 4)]
    )
    def test_one_time_stays_together(self, fraction, expected):
        train, test = split_by_time(self.LOG, train_fraction=fraction)
        assert rows(train) == ([0, 1, 2, 3] if expected == 4 else expected)
        assert sorted(rows(train) + rows(test)) == [0, 1, 2, 3, 4]

    def test_shares_of_a_real_size(self):
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
            ({"train_fraction": 1.0}, "between 0 and 1, but it is 1.0"),
            ({"train_fraction": 0.1}, "time is 3, but the log reaches from 3 to 9"),
            ({"time": 10}, "time is 10, but the log reaches from 3 to 9"),
        ],
    )
    def test_bad_arguments_are_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            split_by_time(self.LOG, **arguments)


class TestLast:
    LOG = make_log([("b", 5), ("a", 3), ("b", 5), ("a", 2), ("c", 9), ("b", 1)])

    def test_the_last_row_of_one_time_is_the_last(self):
        train, test = split_last(self.LOG)
        assert (rows(train), rows(test)) == ([0, 3, 4, 5], [1, 2])

    def test_two(self):
        train, test = split_last(self.LOG, count=2)
        assert (rows(train), rows(test)) == ([1, 3, 4, 5], [0, 2])

    def test_agrees_with_sequences(self):
        log = generate_synthetic_log(num_users=30)
        whole, vocabulary = build_sequences(log)
        train, test = (build_sequences(part, vocabulary)[0] for part in split_last(log))
        expected = whole.without_last()
        np.testing.assert_array_equal(train.item_ids, expected.item_ids)
        np.testing.assert_array_equal(train.row_splits, expected.row_splits)
        np.testing.assert_array_equal(test.item_ids, whole.item_from_end(1))

    def test_bad_arguments_are_named(self):
        with pytest.raises(ValueError, match="count must be at least 1"):
            split_last(self.LOG, count=0)
        with pytest.raises(ValueError, match="count is 3, but no user has more"):
            split_last(self.LOG, count=3)
