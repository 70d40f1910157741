"""UserSequences: built from a log, cut, selected and turned into tensors."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_barlow.data.interactions import InteractionLog
from tfrs_barlow.data.readers.movielens import load_movielens
from tfrs_barlow.data.sequences import UserSequences, build_sequences
from tfrs_barlow.data.vocabulary import Vocabulary

_NO_ITEMS = pd.DataFrame({"item_id": [], "title": [], "categories": []})

_ROWS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(0, 3)), min_size=1
)
_HISTORIES = st.lists(st.lists(st.integers(2, 50), max_size=6), max_size=6)


def _log(rows: list[tuple]) -> InteractionLog:
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return InteractionLog(table, _NO_ITEMS)


def _sequences(histories: list[list[int]]) -> UserSequences:
    """Users 100, 101, ... with the given histories."""
    return UserSequences.from_lists(dict(enumerate(histories, 100)))


def _histories(sequences: UserSequences) -> list[list[int]]:
    return sequences.to_ragged().to_list()


def _times(sequences: UserSequences) -> list[list[int]]:
    return tf.RaggedTensor.from_row_splits(
        sequences.timestamps, sequences.row_splits
    ).to_list()


class TestBuildSequences:
    def test_sorts_users_and_their_items_by_time(self) -> None:
        rows = [(2, 10, 300), (1, 30, 50), (2, 20, 100), (1, 10, 40), (2, 30, 200)]
        sequences, vocabulary = build_sequences(_log(rows))
        assert vocabulary.tokens.tolist() == [10, 20, 30]
        assert sequences.user_ids.tolist() == [1, 2]
        assert _histories(sequences) == [[3, 5], [4, 5, 3]]
        assert _times(sequences) == [[40, 50], [100, 200, 300]]

    def test_keeps_the_order_of_rows_at_the_same_time(self) -> None:
        items = [5, 3, 9, 1, 7, 2, 8, 4, 6] * 10
        rows = [(1, item, 0) for item in items]
        sequences, vocabulary = build_sequences(_log(rows))
        assert vocabulary.decode(sequences.item_ids).tolist() == items

    def test_sorts_times_of_the_whole_range_of_int64(self) -> None:
        first, last = -(2**63), 2**63 - 1
        rows = [(2, 10, last), (1, 20, last), (2, 20, first), (2, 30, 0)]
        sequences, _ = build_sequences(_log(rows))
        assert _times(sequences) == [[last], [first, 0, last]]

    def test_does_not_mind_the_index_of_the_table(self) -> None:
        table = pd.DataFrame(
            {"user_id": [1, 1], "item_id": [10, 20], "timestamp": [2, 1]}, index=[7, 7]
        )
        sequences, _ = build_sequences(InteractionLog(table, _NO_ITEMS))
        assert _histories(sequences) == [[4, 3]]

    def test_takes_strings(self) -> None:
        sequences, vocabulary = build_sequences(
            _log([("bob", "y", 1), ("ann", "x", 2), ("ann", "y", 3)])
        )
        assert sequences.user_ids.tolist() == ["ann", "bob"]
        assert vocabulary.tokens.tolist() == ["x", "y"]
        assert _histories(sequences) == [[3, 4], [4]]

    def test_unknown_items_are_out_of_vocabulary(self) -> None:
        vocabulary = Vocabulary([20])
        sequences, same = build_sequences(_log([(1, 10, 1), (1, 20, 2)]), vocabulary)
        assert same is vocabulary
        assert _histories(sequences) == [[2, 3]]

    def test_leaves_out_short_users_but_not_their_items(self) -> None:
        rows = [(1, 10, 1), (2, 20, 1), (2, 30, 2), (3, 40, 1)]
        sequences, vocabulary = build_sequences(_log(rows), min_length=2)
        assert sequences.user_ids.tolist() == [2]
        assert _histories(sequences) == [[4, 5]]
        assert vocabulary.tokens.tolist() == [10, 20, 30, 40]

    def test_can_leave_out_everyone(self) -> None:
        sequences, _ = build_sequences(_log([(1, 10, 1)]), min_length=2)
        assert len(sequences) == 0
        assert _histories(sequences) == []

    def test_refuses_a_min_length_below_1(self) -> None:
        with pytest.raises(
            ValueError, match="min_length must be an integer of at least 1"
        ):
            build_sequences(_log([(1, 10, 1)]), min_length=0)

    @settings(deadline=None)
    @given(_ROWS)
    def test_agrees_with_sorting_in_python(self, rows: list[tuple]) -> None:
        sequences, vocabulary = build_sequences(_log(rows))
        by_user: dict[int, list[tuple]] = {}
        for row in sorted(rows, key=lambda row: (row[0], row[2])):
            by_user.setdefault(row[0], []).append(row)
        assert sequences.user_ids.tolist() == list(by_user)
        assert [
            vocabulary.decode(history).tolist() for history in _histories(sequences)
        ] == [[item for _, item, _ in events] for events in by_user.values()]

    def test_builds_the_real_movielens_1m(self, ml_1m_dir: pathlib.Path) -> None:
        sequences, vocabulary = build_sequences(load_movielens("ml-1m", ml_1m_dir))
        assert len(sequences) == 6_040
        assert len(sequences.item_ids) == 1_000_209
        assert len(vocabulary) == 3_706
        assert sequences.lengths.min() == 20
        assert sequences.lengths.max() == 2_314
        # The first lines of ratings.dat, which is in the order of time per user.
        first = vocabulary.decode(sequences.item_ids[:3])
        assert first.tolist() == [3186, 1721, 1022]


class TestViews:
    def test_lengths(self) -> None:
        sequences = _sequences([[5, 6], [], [7]])
        assert len(sequences) == 3
        assert sequences.lengths.tolist() == [2, 0, 1]

    @pytest.mark.parametrize(
        ("indices", "users", "histories"),
        [
            ([2, 0], [102, 100], [[7], [5, 6]]),
            ([1, 1], [101, 101], [[], []]),
            ([-1], [102], [[7]]),
            ([True, False, True], [100, 102], [[5, 6], [7]]),
            ([], [], []),
        ],
        ids=["any order", "repeated", "from the end", "mask", "nobody"],
    )
    def test_select(self, indices: list, users: list, histories: list) -> None:
        chosen = _sequences([[5, 6], [], [7]]).select(indices)
        assert chosen.user_ids.tolist() == users
        assert _histories(chosen) == histories
        assert _times(chosen) == [list(range(len(history))) for history in histories]

    def test_select_refuses_an_index_out_of_range(self) -> None:
        with pytest.raises(IndexError):
            _sequences([[5, 6], [7]]).select([2])

    def test_without_last(self) -> None:
        sequences = _sequences([[5, 6, 7], [8], []])
        assert _histories(sequences.without_last()) == [[5, 6], [], []]
        assert _histories(sequences.without_last(2)) == [[5], [], []]
        assert _histories(sequences.without_last(0)) == [[5, 6, 7], [8], []]
        assert sequences.without_last(9).user_ids.tolist() == [100, 101, 102]

    def test_most_recent(self) -> None:
        recent = _sequences([[5, 6, 7], [8], []]).most_recent(2)
        assert _histories(recent) == [[6, 7], [8], []]
        assert _times(recent) == [[1, 2], [0], []]

    def test_item_from_end(self) -> None:
        sequences = _sequences([[5, 6, 7], [8], []])
        assert sequences.item_from_end(1).tolist() == [7, 8, 0]
        assert sequences.item_from_end(2).tolist() == [6, 0, 0]
        assert sequences.item_from_end(1).dtype == np.int32

    def test_to_dense_pads_at_the_end(self) -> None:
        dense = _sequences([[5, 6, 7], [8], []]).to_dense(2)
        assert dense.tolist() == [[6, 7], [8, 0], [0, 0]]
        assert dense.dtype == np.int32

    def test_to_ragged_keeps_int32_ids_and_int64_splits(self) -> None:
        ragged = _sequences([[5, 6], [7]]).to_ragged()
        assert ragged.dtype == tf.int32
        assert ragged.row_splits.dtype == tf.int64

    @pytest.mark.parametrize("name", ["most_recent", "to_dense", "item_from_end"])
    def test_refuses_lengths_and_offsets_below_1(self, name: str) -> None:
        with pytest.raises(
            ValueError, match="must be an integer of at least 1, but it is 0"
        ):
            getattr(_sequences([[5]]), name)(0)

    def test_refuses_to_drop_less_than_nothing(self) -> None:
        with pytest.raises(ValueError, match="count must be an integer of at least 0"):
            _sequences([[5]]).without_last(-1)

    @settings(deadline=None)
    @given(_HISTORIES, st.integers(1, 7))
    def test_agrees_with_lists(self, histories: list[list[int]], n: int) -> None:
        sequences = _sequences(histories)
        assert _histories(sequences.most_recent(n)) == [h[-n:] for h in histories]
        assert _histories(sequences.without_last(n)) == [h[:-n] for h in histories]
        assert sequences.to_dense(n).tolist() == [
            (h[-n:] + [0] * n)[:n] for h in histories
        ]
        assert sequences.item_from_end(n).tolist() == [
            h[-n] if n <= len(h) else 0 for h in histories
        ]

    @settings(deadline=None)
    @given(_HISTORIES, st.randoms(use_true_random=False))
    def test_select_composes(self, histories: list[list[int]], random: Any) -> None:
        sequences = _sequences(histories)
        order = list(range(len(histories)))
        random.shuffle(order)
        back = np.argsort(order)
        restored = sequences.select(order).select(back)
        assert _histories(restored) == histories
        assert restored.user_ids.tolist() == sequences.user_ids.tolist()


class TestValidation:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"row_splits": [0, 2]}, r"row_splits must be .* shape \[3\]"),
            ({"row_splits": [0, 1, 2]}, "rise from 0 to the 3 events"),
            ({"row_splits": [1, 2, 3]}, "rise from 0 to the 3 events"),
            ({"row_splits": [0, 4, 3]}, "rise from 0 to the 3 events"),
            (
                {"user_ids": np.array([[1], [2]])},
                r"user_ids must be of the shape \[any\]",
            ),
            ({"timestamps": [1, 2]}, r"timestamps must be .* shape \[3\]"),
            ({"timestamps": [2, 1, 3]}, "not decrease within a user, .* at event 1"),
            ({"timestamps": [1.0, 2.0, 3.0]}, "timestamps must .* of int64"),
            ({"item_ids": np.array([5, 6, 7])}, "item_ids must .* of int32"),
            (
                {"item_ids": np.array([[5, 6, 7]], np.int32)},
                r"item_ids must .* shape \[any\], .* \[1, 3\]",
            ),
            ({"item_ids": np.array([5, 0, 7], np.int32)}, "padding .* one is 0"),
            ({"item_ids": np.array([5, 1, 7], np.int32)}, "mask token, but one is 1"),
        ],
    )
    def test_refuses_arrays_that_do_not_fit(
        self, changes: dict[str, npt.ArrayLike], message: str
    ) -> None:
        arrays = {
            "user_ids": np.array([1, 2]),
            "item_ids": np.array([5, 6, 7], np.int32),
            "timestamps": np.array([1, 2, 1]),
            "row_splits": np.array([0, 2, 3]),
        }
        UserSequences(**arrays)
        arrays |= {name: np.asarray(value) for name, value in changes.items()}
        with pytest.raises(ValueError, match=message):
            UserSequences(**arrays)

    def test_time_may_go_back_between_users_even_around_empty_ones(self) -> None:
        UserSequences(
            user_ids=np.arange(5),
            item_ids=np.array([5, 6, 7], np.int32),
            timestamps=np.array([9, 9, 1]),
            row_splits=np.array([0, 0, 2, 2, 3, 3]),
        )

    @pytest.mark.parametrize("name", ["user_ids", "item_ids", "row_splits"])
    def test_refuses_what_is_no_array(self, name: str) -> None:
        arrays = dataclasses.asdict(_sequences([[5]])) | {name: [0]}
        with pytest.raises(TypeError, match=f"{name} must be a NumPy array"):
            UserSequences(**arrays)


class TestFromLists:
    def test_users_keep_their_order_and_get_times(self) -> None:
        sequences = UserSequences.from_lists({"bob": [9], "ann": [5, 3], "cy": []})
        assert sequences.user_ids.tolist() == ["bob", "ann", "cy"]
        assert _histories(sequences) == [[9], [5, 3], []]
        assert _times(sequences) == [[0], [0, 1], []]

    def test_takes_times_in_the_order_of_the_histories(self) -> None:
        sequences = UserSequences.from_lists(
            {"bob": [9], "ann": [5, 3]}, timestamps={"ann": (4, 4), "bob": [7]}
        )
        assert _times(sequences) == [[7], [4, 4]]

    def test_users_are_of_the_types_of_a_log(self) -> None:
        built, _ = build_sequences(_log([("ann", "x", 1)]))
        assert UserSequences.from_lists({"ann": [3]}).user_ids.dtype == (
            built.user_ids.dtype
        )
        assert UserSequences.from_lists({7: [3]}).user_ids.dtype == np.int64

    def test_there_may_be_nobody(self) -> None:
        assert len(UserSequences.from_lists({})) == 0

    @pytest.mark.parametrize(
        ("timestamps", "message"),
        [
            ({"ann": [1, 2]}, "a time for each event of histories"),
            ({"ann": [1], "bob": [1, 2]}, "a time for each event of histories"),
            ({"ann": [2, 1], "bob": [1]}, "must not decrease within a user"),
        ],
    )
    def test_refuses_times_that_do_not_fit(
        self, timestamps: dict[str, list[int]], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            UserSequences.from_lists({"ann": [5, 3], "bob": [9]}, timestamps=timestamps)

    @pytest.mark.parametrize("item", [2.0, "5", True, None])
    def test_refuses_what_is_no_integer(self, item: Any) -> None:
        with pytest.raises(TypeError, match="histories must hold integers"):
            UserSequences.from_lists({"ann": [item]})

    @pytest.mark.parametrize("item", [2**31, -(2**40)])
    def test_refuses_ids_that_are_no_int32(self, item: int) -> None:
        with pytest.raises(ValueError, match="that fit into int32"):
            UserSequences.from_lists({"ann": [item]})
