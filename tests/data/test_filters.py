"""What filters keep: cases by hand, and the definition of a k-core."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_barlow.data import InteractionLog, filter_k_core, filter_ratings


def make_log(pairs, ratings=None):
    table = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    table["timestamp"] = np.arange(len(table))[::-1]
    if ratings is not None:
        table["rating"] = ratings
    items = table["item_id"].unique()
    return InteractionLog(
        table,
        pd.DataFrame({"item_id": items, "title": "", "categories": [()] * len(items)}),
    )


def pairs(log):
    return list(
        log.interactions[["user_id", "item_id"]].itertuples(index=False, name=None)
    )


class TestRatings:
    def test_keeps_those_as_high_in_their_order(self):
        log = make_log([(2, 7), (1, 8), (2, 9), (1, 7)], [4.0, 3.5, 5.0, 0.5])
        kept = filter_ratings(log, min_rating=3.5)
        assert pairs(kept) == [(2, 7), (1, 8), (2, 9)]
        assert kept.interactions["timestamp"].tolist() == [3, 2, 1]
        assert kept.interactions.index.tolist() == [0, 1, 2]
        assert len(log.interactions) == 4
        assert kept.items is log.items

    def test_no_ratings(self):
        with pytest.raises(ValueError, match="log must have ratings"):
            filter_ratings(make_log([(1, 2)]), min_rating=3)

    def test_nothing_left(self):
        with pytest.raises(ValueError, match=r"is 5, but the highest rating is 4\.5"):
            filter_ratings(make_log([(1, 2)], [4.5]), min_rating=5)


class TestKCore:
    def test_repeats_until_all_have_enough(self):
        # Item c goes first; then user 3 has one left, then item b, then user 2.
        chain = [(1, "a"), (1, "a"), (2, "a"), (2, "b"), (3, "b"), (3, "c")]
        assert pairs(
            filter_k_core(make_log(chain), min_per_user=2, min_per_item=2)
        ) == [
            (1, "a"),
            (1, "a"),
        ]

    def test_one_keeps_all(self):
        log = make_log([(1, 2), (3, 4)])
        assert pairs(filter_k_core(log, min_per_user=1, min_per_item=1)) == pairs(log)

    def test_users_alone(self):
        log = make_log([("x", 1), ("y", 1), ("x", 2)])
        assert pairs(filter_k_core(log, min_per_user=2, min_per_item=1)) == [
            ("x", 1),
            ("x", 2),
        ]

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1),
        st.integers(1, 4),
        st.integers(1, 4),
    )
    def test_is_the_largest_part_in_which_all_have_enough(self, rows, users, items):
        expected = list(rows)
        while True:
            kept = [
                (user, item)
                for user, item in expected
                if sum(u == user for u, _ in expected) >= users
                and sum(i == item for _, i in expected) >= items
            ]
            if kept == expected:
                break
            expected = kept
        arguments = {"min_per_user": users, "min_per_item": items}
        if expected:
            assert pairs(filter_k_core(make_log(rows), **arguments)) == expected
        else:
            with pytest.raises(ValueError, match="No interaction is left"):
                filter_k_core(make_log(rows), **arguments)

    @pytest.mark.parametrize("argument", ["min_per_user", "min_per_item"])
    def test_bad_arguments_are_named(self, argument):
        with pytest.raises(
            ValueError, match=f"{argument} must be an integer of at least 1"
        ):
            filter_k_core(make_log([(1, 2)]), **{argument: 0})
