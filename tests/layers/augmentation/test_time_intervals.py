"""Augmentations that look at the times between items: which they choose, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.layers.augmentation.histories import (
    GENRES,
    NEIGHBORS,
    SEED,
    START,
    are_equally_likely,
    history,
    items,
    lists,
    ragged_history,
    times_of,
    unpadded,
)
from tfrs_barlow.ids import FIRST_ITEM_ID, MASK_ID
from tfrs_barlow.layers import (
    RandomMask,
    TimeIntervalCrop,
    TimeIntervalInsert,
    TimeIntervalMask,
    TimeIntervalReorder,
    TimeIntervalSubstitute,
    TwoViews,
)

Make = Callable[..., tf.keras.layers.Layer]
LAYERS: dict[str, Make] = {
    "crop": lambda rate=0.7, **settings: TimeIntervalCrop(rate, **settings),
    "reorder": lambda rate=0.4, **settings: TimeIntervalReorder(rate, **settings),
    "mask": lambda rate=0.5, prefer="minimum", **settings: TimeIntervalMask(
        rate, prefer=prefer, **settings
    ),
    "substitute": lambda rate=0.4, **settings: TimeIntervalSubstitute(
        rate, NEIGHBORS, item_tables=GENRES, **settings
    ),
    "insert": lambda rate=0.5, **settings: TimeIntervalInsert(
        rate, NEIGHBORS, item_tables=GENRES, **settings
    ),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
both_preferences = pytest.mark.parametrize("prefer", ["minimum", "maximum"])


def many(layer: tf.keras.layers.Layer, gaps: list[int], rows: int = 6000) -> Any:
    """The views of one sequence, given by the times between its items."""
    columns = history(times_of(gaps))
    inputs = {name: tf.repeat(column, rows, axis=0) for name, column in columns.items()}
    return layer(inputs, training=True, seed=SEED)


class TestTimeIntervalCrop:
    def test_keeps_the_stretch_with_the_smallest_variance(self) -> None:
        """Of 3 items each: gaps (500, 10), (10, 10), (10, 380)."""
        view = TimeIntervalCrop(0.6)(history([0, 500, 510, 520, 900]), training=True)
        assert items(view) == [[4, 5, 6]]

    def test_or_the_largest(self) -> None:
        """Of 3 items each: gaps (10, 10), (10, 900), (900, 500)."""
        view = TimeIntervalCrop(0.6, prefer="maximum")(
            history([0, 10, 20, 920, 1420]), training=True
        )
        assert items(view) == [[4, 5, 6]]

    def test_the_last_interval_of_a_stretch_counts(self) -> None:
        """TiCoSeRec leaves it out, and so could not tell these two apart."""
        crop = TimeIntervalCrop(0.75)
        assert items(crop(history([0, 10, 20, 99]), training=True)) == [[3, 4, 5]]
        assert items(crop(history([0, 79, 89, 99]), training=True)) == [[4, 5, 6]]

    def test_large_but_even_intervals_are_even(self) -> None:
        """Gaps (1, 5, 9, 400, 400): the mean does not matter."""
        view = TimeIntervalCrop(0.5)(history(times_of([1, 5, 9, 400, 400])), True)
        assert items(view) == [[6, 7, 8]]

    def test_equal_stretches_are_equally_likely(self) -> None:
        views = many(TimeIntervalCrop(0.5), [7, 7, 7, 7, 100, 7, 7])
        starts = views["item_id"].numpy()[:, 0] - FIRST_ITEM_ID
        counts = np.bincount(starts, minlength=5)
        # Four items with gaps of 7 start at 0 or 1 only.
        assert counts[2:].tolist() == [0, 0, 0]
        assert are_equally_likely(counts[:2])

    @pytest.mark.parametrize("rate", [0.125, 0.25, 0.5])
    def test_where_all_times_are_equal_any_stretch_is(self, rate: float) -> None:
        views = many(TimeIntervalCrop(rate), [0] * 7)
        starts = views["item_id"].numpy()[:, 0] - FIRST_ITEM_ID
        windows = 8 - round(rate * 8) + 1
        assert are_equally_likely(np.bincount(starts, minlength=windows))

    def test_a_stretch_of_two_items_has_no_variance(self) -> None:
        views = many(TimeIntervalCrop(0.4), [1, 50, 7, 1000])
        starts = views["item_id"].numpy()[:, 0] - FIRST_ITEM_ID
        assert are_equally_likely(np.bincount(starts, minlength=4))

    def test_keeps_its_rate_of_every_length(self) -> None:
        lengths = (many(TimeIntervalCrop(0.7), [5, 9, 1, 3])["item_id"] != 0).numpy()
        assert set(lengths.sum(axis=1)) == {3, 4}
        assert lengths.mean() == pytest.approx(0.7, abs=0.01)

    def test_never_empties_a_sequence(self) -> None:
        assert len(items(TimeIntervalCrop(0.0)(history([1, 2, 3]), True))[0]) == 1

    def test_is_not_random_but_for_ties(self) -> None:
        """So two views made by it alone are identical."""
        views = TwoViews(TimeIntervalCrop(0.6))
        first, second = views(history([0, 500, 510, 520, 900]), training=True)
        assert items(first) == items(second)


class TestTimeIntervalReorder:
    def test_shuffles_the_stretch_with_the_smallest_variance(self) -> None:
        """Of 3 items each: gaps (500, 10), (10, 10), (10, 380)."""
        views = many(TimeIntervalReorder(0.6), [500, 10, 10, 380])["item_id"].numpy()
        assert (views[:, [0, 4]] == [3, 7]).all()
        orders, counts = np.unique(views[:, 1:4], axis=0, return_counts=True)
        assert len(orders) == 6
        assert are_equally_likely(counts)

    def test_or_the_largest(self) -> None:
        views = many(TimeIntervalReorder(0.6, prefer="maximum"), [10, 10, 900, 500])
        views = views["item_id"].numpy()
        assert (views[:, [0, 4]] == [3, 7]).all()
        assert (views[:, 1:4] != [4, 5, 6]).any(axis=1).mean() > 0.7

    def test_changes_short_sequences_too(self) -> None:
        """TiCoSeRec leaves those of fewer than ten items as they are."""
        views = many(TimeIntervalReorder(0.2), [4, 9])["item_id"].numpy()
        changed = (views != [3, 4, 5]).any(axis=1)
        assert changed.mean() == pytest.approx(0.5, abs=0.03)

    def test_rate_zero_is_the_identity(self) -> None:
        columns = history([0, 5, 7])
        view = TimeIntervalReorder(0.0)(columns, training=True)
        assert unpadded(view) == unpadded(columns)


class TestTimeIntervalMask:
    def test_hides_the_items_closest_to_the_next(self) -> None:
        """Times to the next: 500, 10, 20, 370, and 370 for the last."""
        mask = TimeIntervalMask(0.4, prefer="minimum")
        view = mask(history([0, 500, 510, 530, 900]), training=True)
        assert items(view) == [[3, MASK_ID, MASK_ID, 6, 7]]

    def test_or_farthest_from_it(self) -> None:
        """Times to the next: 500, 10, 20, 370, and 370 for the last."""
        mask = TimeIntervalMask(0.6, prefer="maximum")
        view = mask(history([0, 500, 510, 530, 900]), training=True)
        assert items(view) == [[MASK_ID, 4, 5, MASK_ID, MASK_ID]]

    def test_random_is_the_default_and_is_a_random_mask(self) -> None:
        columns = history(list(range(40)))
        expected = RandomMask(0.5)(columns, training=True, seed=SEED)
        view = TimeIntervalMask(0.5)(columns, training=True, seed=SEED)
        assert unpadded(view) == unpadded(expected)
        # It needs no times.
        ids = columns["item_id"]
        view = TimeIntervalMask(0.5)(ids, training=True, seed=SEED)
        np.testing.assert_array_equal(view, expected["item_id"])

    @both_preferences
    def test_of_equal_intervals_every_choice_is_equally_likely(
        self, prefer: str
    ) -> None:
        mask = TimeIntervalMask(0.5, prefer=prefer)
        hidden = many(mask, [0] * 5)["item_id"].numpy() == MASK_ID
        choices, counts = np.unique(hidden, axis=0, return_counts=True)
        assert len(choices) == 20
        assert are_equally_likely(counts)

    def test_the_rest_is_drawn_from_those_that_tie(self) -> None:
        """Times to the next: 1, 5, 5, 5, 9, 9; of 3 two are from the fives."""
        mask = TimeIntervalMask(0.5, prefer="minimum")
        hidden = many(mask, [1, 5, 5, 5, 9])["item_id"].numpy() == MASK_ID
        assert hidden[:, 0].all()
        assert not hidden[:, 4:].any()
        counts = hidden[:, 1:4].sum(axis=0)
        # Negatively dependent: less spread than independent counts.
        assert counts.sum() == 2 * len(hidden)
        assert np.abs(counts / len(hidden) - 2 / 3).max() < 0.03

    def test_the_last_item_can_be_hidden(self) -> None:
        """It counts like the one before; TiCoSeRec never hides it."""
        hidden = many(TimeIntervalMask(0.25, prefer="minimum"), [9, 9, 1])
        hidden = hidden["item_id"].numpy() == MASK_ID
        assert hidden[:, :2].sum() == 0
        assert are_equally_likely(hidden[:, 2:].sum(axis=0))

    @both_preferences
    def test_one_item_stays_visible(self, prefer: str) -> None:
        mask = TimeIntervalMask(1.0, prefer=prefer)
        assert (many(mask, [3, 1, 2])["item_id"].numpy() == MASK_ID).sum(1).max() == 3
        assert items(mask(history([5]), training=True)) == [[3]]

    def test_hides_the_columns_of_mask_values(self) -> None:
        mask = TimeIntervalMask(0.4, prefer="minimum", mask_values={"genre": -1})
        view = unpadded(mask(history([0, 500, 510, 530, 900]), training=True))
        assert view["item_id"] == [[3, 4, 5, 6, 7]]
        assert view["genre"] == [[6, -1, -1, 12, 14]]


class TestTimeIntervalSubstitute:
    def test_replaces_the_items_closest_to_the_next(self) -> None:
        """Times to the next: 500, 10, 20, 370, and 370 for the last."""
        views = many(
            TimeIntervalSubstitute(0.4, NEIGHBORS, item_tables=GENRES),
            [500, 10, 20, 370],
        )
        ids = views["item_id"].numpy()
        assert (ids[:, [0, 3, 4]] == [3, 6, 7]).all()
        for position in (1, 2):
            further = ids[:, position] - position - FIRST_ITEM_ID
            assert set(further) == {40, 80}
            counts = np.bincount(further // 40)[1:]
            assert are_equally_likely(counts)
        # They bring their own genre; the rest is that of the item that was there.
        np.testing.assert_array_equal(views["genre"], ids * 2)
        times = views["timestamp"].numpy() - START
        np.testing.assert_array_equal(times[0], [0, 500, 510, 530, 900])
        np.testing.assert_array_equal(views["rating"][0] * 4, [3, 4, 5, 6, 7])

    def test_or_farthest_from_it(self) -> None:
        substitute = TimeIntervalSubstitute(0.2, NEIGHBORS, prefer="maximum")
        view = substitute(history([0, 500, 510, 530, 900]), training=True)
        assert items(view)[0][0] in (43, 83)
        assert items(view)[0][1:] == [4, 5, 6, 7]

    def test_items_without_a_neighbor_stay(self) -> None:
        columns = history([0, 1, 2])
        columns["item_id"] = tf.constant([[39, 5000, MASK_ID]], tf.int64)
        substitute = TimeIntervalSubstitute(1.0, NEIGHBORS)
        assert items(substitute(columns, training=True)) == [[39, 5000, MASK_ID]]

    def test_of_equal_intervals_every_choice_is_equally_likely(self) -> None:
        views = many(TimeIntervalSubstitute(0.5, NEIGHBORS), [0] * 5)
        replaced = views["item_id"].numpy() >= 40
        choices, counts = np.unique(replaced, axis=0, return_counts=True)
        assert len(choices) == 20
        assert are_equally_likely(counts)

    def test_one_item_can_be_replaced(self) -> None:
        view = TimeIntervalSubstitute(1.0, NEIGHBORS)(history([5]), training=True)
        assert items(view)[0][0] in (43, 83)


class TestTimeIntervalInsert:
    def test_fills_the_largest_intervals_half_way(self) -> None:
        """Gaps: 500, 10, 20, 370."""
        insert = TimeIntervalInsert(0.4, NEIGHBORS, item_tables=GENRES)
        view = lists(insert(ragged_history([0, 500, 510, 530, 900]), training=True))
        (ids,) = view["item_id"]
        assert ids[1] in (43, 83)
        assert ids[5] in (46, 86)
        assert [ids[0], *ids[2:5], ids[6]] == [3, 4, 5, 6, 7]
        assert view["timestamp"] == [[0, 250, 500, 510, 530, 715, 900]]
        # With its own category, and the rest of the item before.
        assert view["genre"] == [[2 * item for item in ids]]
        assert view["original"] == [[3, 3, 4, 5, 6, 6, 7]]

    def test_or_the_smallest(self) -> None:
        insert = TimeIntervalInsert(0.4, NEIGHBORS, prefer="minimum")
        view = lists(insert(ragged_history([0, 500, 510, 530, 900]), training=True))
        assert view["timestamp"] == [[0, 500, 505, 510, 520, 530, 900]]

    def test_either_neighbor_is_equally_likely(self) -> None:
        views = many(TimeIntervalInsert(0.5, NEIGHBORS), [9])["item_id"].numpy()
        # As wide as before: the oldest item has gone.
        assert (views[:, 1] == 4).all()
        assert are_equally_likely(np.bincount(views[:, 0] // 40)[1:])

    def test_of_equal_intervals_every_choice_is_equally_likely(self) -> None:
        columns = history(times_of([4] * 5), width=9)
        inputs = {name: tf.repeat(column, 6000, 0) for name, column in columns.items()}
        views = TimeIntervalInsert(0.5, NEIGHBORS)(inputs, training=True, seed=SEED)
        new = views["item_id"].numpy() >= 40
        assert (new.sum(axis=1) == 3).all()
        choices, counts = np.unique(views["timestamp"], axis=0, return_counts=True)
        assert len(choices) == 10
        assert are_equally_likely(counts)

    def test_each_interval_is_filled_once_at_most(self) -> None:
        view = TimeIntervalInsert(1.0, NEIGHBORS)(ragged_history([0, 4, 9]), True)
        assert lists(view)["timestamp"] == [[0, 2, 4, 6, 9]]

    def test_after_an_item_without_a_neighbor_nothing_comes(self) -> None:
        columns = ragged_history([0, 400, 500])
        columns["item_id"] = tf.ragged.constant([[39, 4, 5]], dtype=tf.int64)
        view = TimeIntervalInsert(0.34, NEIGHBORS)(columns, training=True, seed=SEED)
        assert lists(view)["item_id"][0] == [39, 4, 5]

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_a_dense_row_keeps_its_width_and_its_latest_items(self, side: str) -> None:
        rows = [0, 10, 20], [5]
        insert = TimeIntervalInsert(1.0, NEIGHBORS)
        expected = lists(insert(ragged_history(*rows), training=True, seed=SEED))
        view = insert(history(*rows, side=side, width=4), training=True, seed=SEED)
        assert unpadded(view) == {
            name: [row[-4:] for row in column] for name, column in expected.items()
        }

    @pytest.mark.parametrize(
        ("dtype", "expected"),
        [
            (tf.int32, [-7, -5, -2, 4, 11]),
            (tf.int8, [-7, -5, -2, 4, 11]),
            (tf.float32, [-7, -4.5, -2, 4.5, 11]),
            (tf.float64, [-7, -4.5, -2, 4.5, 11]),
        ],
    )
    def test_the_times_keep_their_dtype(
        self, dtype: tf.DType, expected: list[float]
    ) -> None:
        columns = ragged_history([0, 0, 0])
        columns["timestamp"] = tf.cast(tf.ragged.constant([[-7, -2, 11]]), dtype)
        times = TimeIntervalInsert(1.0, NEIGHBORS)(columns, training=True)["timestamp"]
        assert times.dtype == dtype
        assert times.to_list() == [expected]

    def test_half_way_between_the_ends_of_a_dtype(self) -> None:
        columns = ragged_history([0, 0])
        columns["timestamp"] = tf.ragged.constant([[-128, 127]], dtype=tf.int8)
        times = TimeIntervalInsert(1.0, NEIGHBORS)(columns, training=True)["timestamp"]
        assert times.to_list() == [[-128, -1, 127]]


# Few different times between items, so that there are ties; or any at all.
gap_lists = st.lists(st.integers(0, 2) | st.integers(0, 3 * 10**7), max_size=10)
rows_of_times = st.lists(
    st.just([]) | gap_lists.map(times_of), min_size=1, max_size=5
).map(tuple)


@every_layer
@both_preferences
@hypothesis.given(rows=rows_of_times, rate=st.floats(0, 1), seed=st.integers(0, 2**31))
@hypothesis.settings(max_examples=20, deadline=None)
def test_what_holds_for_all_sequences(
    make: Make, prefer: str, rows: tuple[list[int], ...], rate: float, seed: int
) -> None:
    layer, seed = make(rate, prefer=prefer), tf.constant([seed, 1], tf.int64)
    view = lists(layer(ragged_history(*rows), training=True, seed=seed))
    for number, times in enumerate(rows):
        row = {name: column[number] for name, column in view.items()}
        assert len({len(values) for values in row.values()}) == 1
        assert bool(row["item_id"]) == bool(times), "Only an empty one may be empty."
        if not isinstance(layer, TimeIntervalReorder):
            assert row["timestamp"] == sorted(row["timestamp"])
        has_the_right_length(layer, row["item_id"], len(times), rate)


def has_the_right_length(
    layer: tf.keras.layers.Layer, ids: list[int], length: int, rate: float
) -> None:
    rounded, least_rest = int(rate * length), 1e-9
    counts = {rounded, rounded + (rate * length - rounded > least_rest)}
    if isinstance(layer, TimeIntervalCrop):
        assert len(ids) in {max(count, min(length, 1)) for count in counts}
        return
    changed = sum(item == MASK_ID or item >= 40 for item in ids)
    if isinstance(layer, TimeIntervalInsert):
        assert len(ids) == length + changed
    else:
        assert len(ids) == length
    if isinstance(layer, TimeIntervalReorder):
        assert changed == 0
    elif isinstance(layer, TimeIntervalSubstitute):
        assert changed in counts
    else:
        assert changed in {min(count, max(length - 1, 0)) for count in counts}


@every_layer
@both_preferences
def test_sequences_of_no_one_and_two_items(make: Make, prefer: str) -> None:
    """One item has no interval: it is kept, shuffled alone or, half the time, replaced.

    Of two items each has the same interval, which is the only one to insert into.
    """
    rows = [[], [7], [7, 8]] * 50
    view = make(0.5, prefer=prefer)(history(*rows, width=4), True, seed=SEED)
    none, one, two = (sorted(set(map(tuple, items(view)[n::3]))) for n in range(3))
    assert none == [()]
    assert (one, two) == {
        TimeIntervalCrop: ([(3,)], [(3,), (4,)]),
        TimeIntervalReorder: ([(3,)], [(3, 4), (4, 3)]),
        TimeIntervalMask: ([(3,)], [(1, 4), (3, 1)]),
        TimeIntervalSubstitute: (
            [(3,), (43,), (83,)],
            [(3, 44), (3, 84), (43, 4), (83, 4)],
        ),
        TimeIntervalInsert: ([(3,)], [(3, 43, 4), (3, 83, 4)]),
    }[type(make())]


def exact_spreads(times: list[int], count: int) -> Iterator[int]:
    """By start, the variance of the gaps among `count` items, times their number**2."""
    gaps = np.diff(times).tolist()
    for start in range(len(times) - count + 1):
        window = gaps[start : start + count - 1]
        yield len(window) * sum(gap * gap for gap in window) - sum(window) ** 2


@both_preferences
@pytest.mark.parametrize("unit", [1, 1000, 10**9])
@pytest.mark.parametrize("rate", [0.2, 0.5, 0.7])
def test_the_choice_of_the_stretch_is_exact(
    prefer: str, unit: int, rate: float
) -> None:
    """Sessions of seconds months apart: sums of floats would lose the seconds."""
    rng = np.random.default_rng(1)
    shape = [60, 100]
    gaps = np.where(rng.random(shape) < 0.1, 86_400, 1) * rng.integers(1, 60, shape)
    rows = [times_of(row * unit) for row in gaps]
    view = TimeIntervalCrop(rate, prefer=prefer)(history(*rows), training=True)
    best = min if prefer == "minimum" else max
    for ids, times in zip(items(view), rows, strict=True):
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        spreads = list(exact_spreads(times, len(ids)))
        if unit == 1:
            assert spreads[ids[0] - FIRST_ITEM_ID] == best(spreads)
        else:  # In units of which a row has at most 2**31.
            assert spreads[ids[0] - FIRST_ITEM_ID] == pytest.approx(
                best(spreads), rel=1e-6, abs=(1e-6 * max(np.diff(times))) ** 2
            )


@pytest.mark.parametrize("unit", [2.0**-20, 0.001, 1 / 86_400, 1e-30, 1e30])
def test_the_unit_of_the_times_does_not_matter(unit: float) -> None:
    gaps = [500, 10, 12, 8, 380]
    for layer in (
        TimeIntervalCrop(0.5),
        TimeIntervalMask(0.5, prefer="minimum"),
        TimeIntervalMask(0.5, prefer="maximum"),
    ):
        columns = history(np.cumsum([0, *gaps]).tolist())
        expected = items(layer(columns, training=True, seed=SEED))
        columns["timestamp"] = tf.cast(columns["timestamp"], tf.float64) * unit
        assert items(layer(columns, training=True, seed=SEED)) == expected


@every_layer
def test_times_of_64_bits_are_not_rounded(make: Make) -> None:
    """As float32, these would all be the same."""
    columns = history(times_of([9, 1, 3, 5, 7, 4, 6, 2]), width=20)
    expected = items(make()(columns, training=True, seed=SEED))
    columns["timestamp"] = tf.cast(columns["timestamp"], tf.float64)
    view = make()(columns, training=True, seed=SEED)
    assert items(view) == expected
    assert view["timestamp"].dtype == tf.float64


def test_where_times_are_not_sorted_the_size_of_a_step_counts() -> None:
    """Steps: 1, -100, 50, 2."""
    columns = history([100, 101, 1, 51, 53], width=8)
    mask = TimeIntervalMask(0.2, prefer="maximum")
    assert items(mask(columns, training=True)) == [[3, MASK_ID, 5, 6, 7]]
    view = TimeIntervalInsert(0.2, NEIGHBORS)(columns, training=True)
    assert unpadded(view)["timestamp"] == [[100, 101, 51, 1, 51, 53]]


IDS = tf.constant([[3, 4, 5]])


@every_layer
@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (IDS, ValueError, r"TimeInterval.*'timestamp'.*time_column.*\['item_id'\]"),
        ({"item_id": IDS, "time": IDS}, ValueError, r"\['item_id', 'time'\]"),
        (
            {"item_id": IDS, "timestamp": tf.constant([["a", "b", "c"]])},
            TypeError,
            "'timestamp'.*must be numbers.*string",
        ),
        (
            {"item_id": IDS, "timestamp": tf.constant([[True, True, False]])},
            TypeError,
            "must be numbers.*bool",
        ),
        (
            {"item_id": IDS, "timestamp": tf.ones([1, 3, 2])},
            TypeError,
            r"\[batch, length\].*\(1, 3, 2\)",
        ),
    ],
)
def test_bad_times_are_named(
    make: Make, inputs: Any, error: type[Exception], message: str
) -> None:
    # While the graph is made, so before any step.
    call = tf.function(make().__call__)
    with pytest.raises(error, match=message):
        call.get_concrete_function(inputs, training=True)


@every_layer
def test_unknown_preferences_are_named(make: Make) -> None:
    with pytest.raises(
        ValueError, match=r"prefer must be one of.*'minimum'.*'average'"
    ):
        make(prefer="average")


def test_only_the_mask_prefers_at_random() -> None:
    with pytest.raises(ValueError, match=r"prefer must be one of.*'random'"):
        TimeIntervalCrop(0.5, prefer="random")
