"""Pairs of views out of the data: who is paired, how often, and in which batches."""

import collections
import itertools
import pathlib
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tfrs_barlow.data import (
    OUT_OF_VOCABULARY_ID,
    SequencePairs,
    UserSequences,
    build_sequences,
    different_period_pairs,
    load_movielens,
    pair_batches,
    same_target_pairs,
    training_batches,
)

# Few items, so that some targets are shared and some are not.
ROWS = st.lists(st.lists(st.integers(2, 8), max_size=7), min_size=1, max_size=8)
SEEDS = st.integers(0, 2**32)


def make_sequences(*rows: Sequence[int]) -> UserSequences:
    """Users 100, 101, ... with the given items."""
    return UserSequences.from_lists(dict(enumerate(rows, 100)))


def views(pairs: SequencePairs) -> list[tuple[list[int], list[int]]]:
    """The items of every pair, as two lists."""
    first, second = (view.to_ragged().to_list() for view in pairs.gather())
    return list(zip(first, second, strict=True))


def is_uniform(draws: list, values: Iterable) -> bool:
    counts = collections.Counter(draws)
    assert set(counts) == set(values)
    return stats.chisquare(list(counts.values())).pvalue > 1e-3


def same(one: SequencePairs, other: SequencePairs) -> bool:
    return np.array_equal(one.first, other.first) and np.array_equal(
        one.second, other.second
    )


class TestSequencePairs:
    SEQUENCES = make_sequences([], [5, 6, 7], [], [8, 9], [])

    def pairs(self, **changes: Any) -> SequencePairs:
        arrays = {
            "first": np.array([[0, 2], [3, 5], [1, 2]]),
            "second": np.array([[3, 4], [0, 3], [2, 3]]),
        }
        return SequencePairs(self.SEQUENCES, **(arrays | changes))

    def test_gathers_both_views_row_by_row(self) -> None:
        pairs = self.pairs()
        assert len(pairs) == 3
        assert views(pairs) == [([5, 6], [8]), ([8, 9], [5, 6, 7]), ([6], [7])]
        first, second = pairs.gather()
        assert first.user_ids.tolist() == [101, 103, 101]
        assert second.user_ids.tolist() == [103, 101, 101]
        assert first.timestamps.tolist() == [0, 1, 0, 1, 1]

    @pytest.mark.parametrize(
        ("indices", "expected"),
        [([2, 0, 2], [1, 0, 1]), ([False, True, False], [3]), ([], [])],
        ids=["any order", "mask", "none"],
    )
    def test_gathers_some(self, indices: list, expected: Any) -> None:
        first, _ = self.pairs().gather(indices)
        starts = [5, 6, 7, 8, 9]
        assert first.to_dense(1).shape == (len(expected), 1)
        assert [row[0] for row in first.to_ragged().to_list()] == [
            starts[start] for start in expected
        ]

    def test_refuses_an_index_out_of_range(self) -> None:
        with pytest.raises(IndexError):
            self.pairs().gather([3])

    def test_keeps_the_most_recent_events_of_both_views(self) -> None:
        pairs = self.pairs(unpaired_share=0.25, labels=np.array([3, 4, 5], np.int32))
        recent = pairs.most_recent(2)
        assert views(recent) == [([5, 6], [8]), ([8, 9], [6, 7]), ([6], [7])]
        assert recent.unpaired_share == 0.25
        assert recent.labels.tolist() == [3, 4, 5]
        with pytest.raises(
            ValueError, match="length must be an integer of at least 1, but it is 0"
        ):
            pairs.most_recent(0)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"first": np.array([0, 2])},
                r"first must .* \[2, 2\], but it is .* \[2\]",
            ),
            ({"first": np.array([[0.0, 2.0]])}, "first must be of int64"),
            ({"second": np.array([[3, 4]])}, r"second must .* of the shape \[3, 2\]"),
            ({"labels": np.array([3, 4], np.int32)}, r"labels must .* shape \[3\]"),
            ({"labels": np.array([3, 4, 5])}, "labels must be of int32"),
        ],
    )
    def test_refuses_arrays_that_do_not_fit(
        self, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            self.pairs(**changes)

    @pytest.mark.parametrize("span", [[2, 4], [1, 1], [2, 1], [-1, 1], [4, 6], [5, 6]])
    @pytest.mark.parametrize("name", ["first", "second"])
    def test_refuses_spans_that_are_empty_or_of_no_one_user(
        self, span: list[int], name: str
    ) -> None:
        spans = np.array([[0, 2], span, [1, 2]])
        message = f"{name} must be spans .* one is from {span[0]} to {span[1]}"
        with pytest.raises(ValueError, match=message):
            self.pairs(**{name: spans})

    def test_there_may_be_none(self) -> None:
        none = np.zeros((0, 2), np.int64)
        assert views(self.pairs(first=none, second=none)) == []
        assert views(SequencePairs(make_sequences(), none, none)) == []


class TestDifferentPeriods:
    def test_only_one_cut_leaves_enough_on_both_sides(self) -> None:
        pairs = different_period_pairs(
            make_sequences([3, 4, 5, 6], [7, 8, 9, 10]), min_length=2
        )
        assert views(pairs) == [([3, 4], [5, 6]), ([7, 8], [9, 10])]
        assert pairs.unpaired_share == 0
        assert pairs.labels is None

    def test_users_with_too_few_events_are_paired_with_themselves(self) -> None:
        sequences = make_sequences([3, 4, 5], [], [6, 7, 8, 9], [3])
        pairs = different_period_pairs(sequences, min_length=2)
        assert views(pairs) == [
            ([3, 4, 5], [3, 4, 5]),
            ([6, 7], [8, 9]),
            ([3], [3]),
        ]
        # Two of three: there is nothing to see of the user without events.
        assert pairs.unpaired_share == pytest.approx(2 / 3)

    def test_or_are_left_out(self) -> None:
        sequences = make_sequences([3, 4, 5], [], [6, 7, 8, 9], [3])
        pairs = different_period_pairs(sequences, min_length=2, keep_unpaired=False)
        assert views(pairs) == [([6, 7], [8, 9])]
        assert pairs.unpaired_share == pytest.approx(2 / 3)
        assert pairs.gather()[0].user_ids.tolist() == [102]

    def test_everyone_may_be_left_out(self) -> None:
        pairs = different_period_pairs(make_sequences([3], [4]), keep_unpaired=False)
        assert len(pairs) == 0
        assert pairs.unpaired_share == 1

    def test_every_cut_is_equally_likely(self) -> None:
        sequences = make_sequences(*[range(3, 13)] * 2_000)
        pairs = different_period_pairs(sequences, min_length=3)
        cuts = [len(older) for older, _ in views(pairs)]
        assert is_uniform(cuts, range(3, 8))

    def test_a_long_period_is_cut_to_any_of_its_stretches(self) -> None:
        sequences = make_sequences(*[range(3, 9)] * 5_000)
        # One cut is possible, which leaves 3 to 5 and 6 to 8.
        pairs = different_period_pairs(sequences, min_length=3, max_length=3)
        assert views(pairs)[0] == ([3, 4, 5], [6, 7, 8])
        # Three cuts are, each with some stretches of two events on either side.
        pairs = different_period_pairs(sequences, min_length=2, max_length=2)
        starts = [(older[0], newer[0]) for older, newer in views(pairs)]
        expected = collections.Counter()
        for cut in (5, 6, 7):
            stretches = list(itertools.product(range(3, cut - 1), range(cut, 8)))
            for stretch in stretches:
                expected[stretch] += 5_000 / 3 / len(stretches)
        counts = collections.Counter(starts)
        assert set(counts) == set(expected)
        observed = [counts[stretch] for stretch in expected]
        assert stats.chisquare(observed, list(expected.values())).pvalue > 1e-3

    def test_an_unpaired_sequence_stays_whole(self) -> None:
        sequences = make_sequences([3, 4, 5], [6, 7, 8, 9])
        pairs = different_period_pairs(sequences, min_length=2, max_length=2)
        assert views(pairs) == [([3, 4, 5], [3, 4, 5]), ([6, 7], [8, 9])]

    def test_the_seed_decides(self) -> None:
        sequences = make_sequences(*[range(3, 23)] * 20)
        pairs = different_period_pairs(sequences, max_length=4, seed=3)
        assert same(pairs, different_period_pairs(sequences, max_length=4, seed=3))
        assert not same(pairs, different_period_pairs(sequences, max_length=4, seed=4))

    @settings(deadline=None)
    @given(ROWS, st.integers(1, 4), st.none() | st.integers(4, 5), SEEDS)
    def test_periods_lie_apart_within_the_row_of_their_user(
        self, rows: list[list[int]], min_length: int, max_length: int | None, seed: int
    ) -> None:
        rows = [*rows, [3]]
        sequences = make_sequences(*rows)
        pairs = different_period_pairs(
            sequences, min_length=min_length, max_length=max_length, seed=seed
        )
        users = [user for user, row in enumerate(rows) if row]
        assert len(pairs) == len(users)
        unpaired = 0
        for user, older, newer in zip(users, pairs.first, pairs.second, strict=True):
            start, end = sequences.row_splits[user : user + 2]
            if end - start < 2 * min_length:
                unpaired += 1
                assert older.tolist() == newer.tolist() == [start, end]
                continue
            assert start <= older[0] < older[1] <= newer[0] < newer[1] <= end
            for length in (older[1] - older[0], newer[1] - newer[0]):
                assert min_length <= length <= (max_length or length)
        assert pairs.unpaired_share == pytest.approx(unpaired / len(users))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"min_length": 0},
                "min_length must be an integer of at least 1, but it is 0",
            ),
            (
                {"max_length": 0},
                "max_length must be an integer of at least 1, but it is 0",
            ),
            (
                {"min_length": 4, "max_length": 3},
                "max_length must be an integer of at least 4",
            ),
        ],
    )
    def test_bad_arguments_are_named(
        self, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            different_period_pairs(make_sequences([3, 4]), **arguments)

    @pytest.mark.parametrize("rows", [[], [[], []]])
    def test_there_must_be_an_event(self, rows: list[list[int]]) -> None:
        with pytest.raises(
            ValueError, match="sequences must hold a user with at least"
        ):
            different_period_pairs(make_sequences(*rows))


class TestSameTarget:
    def test_prefixes(self) -> None:
        sequences = make_sequences([3, 4, 5], [6], [7, 5], [])
        pairs = same_target_pairs(sequences)
        assert views(pairs) == [
            ([3], [3]),  # Before 4, which no other prefix has for its target.
            ([3, 4], [7]),
            ([7], [3, 4]),
        ]
        assert pairs.labels.tolist() == [4, 5, 5]
        assert pairs.labels.dtype == np.int32
        assert pairs.unpaired_share == pytest.approx(1 / 3)

    def test_unpaired_ones_left_out(self) -> None:
        sequences = make_sequences([3, 4, 5], [6], [7, 5], [])
        pairs = same_target_pairs(sequences, keep_unpaired=False)
        assert views(pairs) == [([3, 4], [7]), ([7], [3, 4])]
        assert pairs.labels.tolist() == [5, 5]
        assert pairs.unpaired_share == pytest.approx(1 / 3)

    def test_a_prefix_may_have_a_partner_of_its_own_user(self) -> None:
        pairs = same_target_pairs(make_sequences([3, 4, 4]))
        assert views(pairs) == [([3], [3, 4]), ([3, 4], [3])]

    def test_last_items_only(self) -> None:
        # 5 is the target of two users; what came before the last item is not looked at.
        sequences = make_sequences([3, 4, 5], [5], [7, 5], [5, 4], [])
        pairs = same_target_pairs(sequences, samples="last")
        assert views(pairs) == [([3, 4], [7]), ([7], [3, 4]), ([5], [5])]
        assert pairs.labels.tolist() == [5, 5, 4]
        assert pairs.unpaired_share == pytest.approx(1 / 3)

    @pytest.mark.parametrize("samples", ["prefixes", "last"])
    def test_unknown_items_are_not_the_same_target(self, samples: str) -> None:
        unknown = OUT_OF_VOCABULARY_ID
        sequences = make_sequences([3, unknown], [4, unknown])
        pairs = same_target_pairs(sequences, samples=samples)
        assert views(pairs) == [([3], [3]), ([4], [4])]
        assert pairs.unpaired_share == 1

    def test_every_other_sample_of_the_target_is_equally_likely(self) -> None:
        rows = [[first, 9] for first in range(3, 8)] * 800
        pairs = same_target_pairs(make_sequences(*rows, [3, 8]), samples="last")
        offsets = (pairs.second[:-1, 0] - pairs.first[:-1, 0]) // 2 % len(rows)
        assert offsets.min() >= 1, "Nobody is its own partner."
        quarters = (offsets - 1) * 4 // (len(rows) - 1)
        assert is_uniform(quarters.tolist(), range(4))

    def test_each_of_few_partners_is_equally_likely(self) -> None:
        sequences = make_sequences([3, 9], [4, 9], [5, 9], [6, 9])
        draws = [
            tuple(same_target_pairs(sequences, seed=seed).second[:, 0] // 2)
            for seed in range(3_000)
        ]
        for sample in range(4):
            others = set(range(4)) - {sample}
            assert is_uniform([draw[sample] for draw in draws], others)

    def test_the_seed_decides(self) -> None:
        sequences = make_sequences(*[[first, 9] for first in range(3, 9)] * 5)
        pairs = same_target_pairs(sequences, seed=3)
        assert same(pairs, same_target_pairs(sequences, seed=3))
        assert not same(pairs, same_target_pairs(sequences, seed=4))

    @settings(deadline=None)
    @given(ROWS, st.sampled_from(["prefixes", "last"]), SEEDS)
    def test_whoever_can_have_a_partner_has_one(
        self, rows: list[list[int]], samples: str, seed: int
    ) -> None:
        rows = [*rows, [3, 3]]
        histories, targets = [], []
        for row in rows:
            first = 1 if samples == "prefixes" else max(len(row) - 1, 1)
            for target in range(first, len(row)):
                histories.append(row[:target])
                targets.append(row[target])
        pairs = same_target_pairs(make_sequences(*rows), samples=samples, seed=seed)
        assert pairs.labels.tolist() == targets
        assert [history for history, _ in views(pairs)] == histories

        sample_of = {tuple(span): i for i, span in enumerate(pairs.first.tolist())}
        partners = [sample_of[tuple(span)] for span in pairs.second.tolist()]
        alone = 0
        for sample, (partner, target) in enumerate(zip(partners, targets, strict=True)):
            if target == OUT_OF_VOCABULARY_ID or targets.count(target) == 1:
                alone += 1
                assert partner == sample
            else:
                assert partner != sample
                assert targets[partner] == target
        assert pairs.unpaired_share == pytest.approx(alone / len(targets))

    def test_refuses_unknown_samples(self) -> None:
        with pytest.raises(
            ValueError, match="samples must be one of 'prefixes', 'last'"
        ):
            same_target_pairs(make_sequences([3, 4]), samples="suffixes")

    @pytest.mark.parametrize("rows", [[], [[]], [[3], [3]]])
    def test_there_must_be_a_target(self, rows: list[list[int]]) -> None:
        with pytest.raises(
            ValueError, match="sequences must hold a user with at least"
        ):
            same_target_pairs(make_sequences(*rows))


def take(dataset: tf.data.Dataset, count: int) -> list:
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


class TestBatches:
    # User u has the items 10 u + 3, 10 u + 4, ...: an item shows its user.
    SEQUENCES = make_sequences(*[range(10 * u + 3, 10 * u + 11) for u in range(5)])

    def draw(self, seed: int) -> SequencePairs:
        return different_period_pairs(self.SEQUENCES, min_length=2, seed=seed)

    def test_both_views_of_a_pair_in_one_row(self) -> None:
        batches = take(pair_batches(self.draw, batch_size=3, length=4), 20)
        for batch in batches:
            assert sorted(batch) == ["history", "partner"]
            users = [(view[:, 0] - 3) // 10 for view in batch.values()]
            np.testing.assert_array_equal(*users)
            for view in batch.values():
                assert view.shape == (3, 4)
                assert view.dtype == np.int32
            for older, newer in zip(batch["history"], batch["partner"], strict=True):
                # Two to six events on either side, of which the latest four are kept.
                assert older.max() < newer[newer > 0].min()
                assert newer.max() % 10 == 0

    def test_an_epoch_visits_every_pair_once(self) -> None:
        # Five pairs and batches of three: a batch continues into the next epoch.
        batches = take(pair_batches(self.draw, batch_size=3, length=4), 50)
        users = np.concatenate([batch["history"][:, 0] // 10 for batch in batches])
        users = users.reshape(-1, 5)
        assert (np.sort(users, axis=1) == range(5)).all()
        assert len(np.unique(users, axis=0)) > 20, "Every epoch has its own order."

    def test_every_epoch_has_new_pairs(self) -> None:
        batches = take(pair_batches(self.draw, batch_size=5, length=8), 20)
        older = [np.sort((batch["history"] > 0).sum(axis=1)) for batch in batches]
        assert len(np.unique(older, axis=0)) > 10

    def test_a_batch_may_hold_many_epochs(self) -> None:
        [batch] = take(pair_batches(self.draw, batch_size=23, length=4), 1)
        users = batch["history"][:20, 0] // 10
        assert np.bincount(users).tolist() == [4] * 5

    def test_labels_are_of_the_same_row(self) -> None:
        sequences = make_sequences(*[[first, first % 3 + 20] for first in range(3, 15)])
        batches = pair_batches(
            lambda seed: same_target_pairs(sequences, seed=seed), batch_size=5, length=2
        )
        for batch in take(batches, 10):
            assert (batch["history"][:, 0] != batch["partner"][:, 0]).all()
            for view in (batch["history"], batch["partner"]):
                np.testing.assert_array_equal(view[:, 0] % 3 + 20, batch["label"])

    def test_are_training_batches_with_a_partner(self) -> None:
        arguments = {"batch_size": 4, "length": 3}
        batches = pair_batches(
            lambda seed: same_target_pairs(self.SEQUENCES, seed=seed), **arguments
        )
        spec = dict(batches.element_spec)
        assert spec.pop("partner") == spec["history"]
        assert spec == training_batches(self.SEQUENCES, **arguments).element_spec

    def test_depends_on_the_seed_alone(self) -> None:
        first, again, other = (
            take(pair_batches(self.draw, batch_size=4, length=8, seed=seed), 5)
            for seed in (1, 1, 2)
        )
        np.testing.assert_equal(first, again)
        assert any(
            not np.array_equal(batch["history"], another["history"])
            for batch, another in zip(first, other, strict=True)
        )

    def test_resumes_at_the_step_that_a_variable_holds(self) -> None:
        step = tf.Variable(0, dtype=tf.int64)
        batches = pair_batches(self.draw, batch_size=4, length=8, first_step=step)
        whole_run = take(batches, 6)
        step.assign(4)
        np.testing.assert_equal(take(batches, 2), whole_run[4:])

    @pytest.mark.parametrize("argument", ["batch_size", "length"])
    def test_bad_arguments_are_named(self, argument: str) -> None:
        arguments = {"batch_size": 4, "length": 3, argument: 0}
        with pytest.raises(
            ValueError, match=f"{argument} must be an integer of at least 1"
        ):
            pair_batches(self.draw, **arguments)

    def test_there_must_be_pairs(self) -> None:
        with pytest.raises(
            ValueError, match="draw_pairs must return at least one pair"
        ):
            pair_batches(
                lambda seed: different_period_pairs(
                    self.SEQUENCES, min_length=9, keep_unpaired=False, seed=seed
                ),
                batch_size=2,
                length=3,
            )

    def test_there_must_be_as_many_in_every_epoch(self) -> None:
        seeds = []

        def draw(seed: int) -> SequencePairs:
            seeds.append(seed)
            return (
                self.draw(seed)
                if len(seeds) == 1
                else same_target_pairs(self.SEQUENCES, seed=seed)
            )

        batches = pair_batches(draw, batch_size=5, length=3)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"5 pairs.* 35"):
            take(batches, 2)


def test_movielens(ml_1m_dir: pathlib.Path) -> None:
    sequences, _ = build_sequences(load_movielens("ml-1m", ml_1m_dir))
    started = time.process_time()
    prefixes = same_target_pairs(sequences)
    assert time.process_time() - started < 2
    # Counted in the file by other means.
    assert len(prefixes) == 1_000_209 - 6_040
    assert prefixes.unpaired_share == pytest.approx(117 / 994_169)
    last = same_target_pairs(sequences.without_last(2), samples="last")
    assert last.unpaired_share == pytest.approx(690 / 6_040)
