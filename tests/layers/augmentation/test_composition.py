"""`Sequential`, `RandomChoice` and `ByLength`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.augmentation.histories import (
    NEIGHBORS,
    SEED,
    are_equally_likely,
    counting,
    many,
    padded,
    ragged,
    ragged_history,
    times_of,
)
from tfrs_barlow.ids import MASK_ID, PADDING_ID
from tfrs_barlow.layers import (
    ByLength,
    RandomChoice,
    RandomCrop,
    RandomInsert,
    RandomMask,
    RandomReorder,
    Sequential,
    TimeIntervalCrop,
    TimeIntervalInsert,
    TwoViews,
)
from tfrs_barlow.layers.augmentation import composition

CROP_MASK_NOTHING = (RandomCrop(0.5), RandomMask(0.5), RandomReorder(0.0))


def kind(views: np.ndarray) -> np.ndarray:
    """Which of crop, mask and nothing a row has undergone."""
    cropped = (views == PADDING_ID).any(axis=1)
    masked = (views == MASK_ID).any(axis=1)
    return np.where(cropped, 0, np.where(masked, 1, 2))


@pytest.mark.parametrize(
    "compose",
    [
        lambda inner, **settings: Sequential([inner], **settings),
        lambda inner, **settings: RandomChoice([inner], **settings),
        lambda inner, **settings: ByLength(3, short=inner, long=inner, **settings),
    ],
    ids=["sequential", "random_choice", "by_length"],
)
def test_the_settings_of_a_composition_hold_for_its_parts(
    compose: Callable[..., Any],
) -> None:
    inputs = {"song": padded(counting(10))}
    views = [
        compose(RandomCrop(0.6, **own), item_column="song", seed=1)(
            inputs, training=True
        )["song"]
        for own in ({}, {"item_column": "film", "seed": 2, "padding_side": "left"})
    ]
    np.testing.assert_array_equal(*views)


def test_a_generator_of_augmentations() -> None:
    layers = Sequential(RandomMask(rate) for rate in (0.2, 0.4))
    assert [layer.rate for layer in layers.augmentations] == [0.2, 0.4]


def test_layers_of_all_kinds_in_one_composition() -> None:
    insert = TimeIntervalInsert(0.5, NEIGHBORS)
    layers = Sequential(
        [TimeIntervalCrop(0.7), RandomChoice([insert, RandomMask(0.5)])]
    )
    columns = ragged_history(times_of([3, 1, 4, 1, 5]), [], times_of([9]))
    for view in TwoViews(layers)(columns, training=True):
        lengths = view["item_id"].row_lengths().numpy()
        assert (lengths > 0).tolist() == [True, False, True]
        for column in view.values():
            np.testing.assert_array_equal(column.row_lengths(), lengths)


def test_bad_augmentations_are_named() -> None:
    dense = tf.keras.layers.Dense(3)
    for compose in (Sequential, RandomChoice, TwoViews):
        with pytest.raises(TypeError, match="augmentations must be an augmentation"):
            compose([RandomCrop(0.5), dense])
        with pytest.raises(TypeError, match="augmentations must be"):
            compose(dense)
    with pytest.raises(TypeError, match="second must be an augmentation layer"):
        TwoViews(RandomCrop(0.5), second=dense)
    with pytest.raises(TypeError, match="long must be an augmentation layer"):
        ByLength(3, short=RandomCrop(0.5), long=dense)
    with pytest.raises(ValueError, match="at least 1 to choose from"):
        RandomChoice([])
    with pytest.raises(ValueError, match=r"at least 2 to choose from.*holds 1"):
        RandomChoice([RandomCrop(0.5)], replacement=False)


class TestRandomChoice:
    @pytest.mark.parametrize("rows", [1, 2, 3, 7])
    def test_each_sequence_gets_every_one_equally_often(self, rows: int) -> None:
        choice = RandomChoice(CROP_MASK_NOTHING, seed=1)
        inputs = padded(counting(*[10] * rows))
        call = tf.function(lambda: choice(inputs, training=True))
        kinds = np.stack([kind(call().numpy()) for _ in range(2000)])
        for row in range(rows):
            assert are_equally_likely(np.bincount(kinds[:, row], minlength=3))
        # And any two of them are nearly independent.
        if rows == 7:
            table = np.histogram2d(kinds[:, 0], kinds[:, 5], bins=3)[0]
            assert table.min() > 2000 / 9 * 0.5

    @pytest.mark.parametrize("rows", [9, 10, 11])
    def test_the_shares_of_a_batch_are_equal(self, rows: int) -> None:
        counts = np.bincount(kind(many(10, RandomChoice(CROP_MASK_NOTHING), rows)))
        assert counts.sum() == rows
        assert counts.max() <= 4

    def test_each_row_gets_its_own_sequence_back(self) -> None:
        inputs = padded([[10 * n, 10 * n + 1] for n in range(1, 30)])
        nothing = [RandomReorder(0.0), RandomMask(0.0)]
        view = RandomChoice(nothing)(inputs, training=True)
        np.testing.assert_array_equal(view, inputs)
        views = TwoViews(RandomChoice(nothing, replacement=False))
        for view in views(inputs, training=True):
            np.testing.assert_array_equal(view, inputs)

    def test_the_places_of_rows_by_hand(self) -> None:
        """The example of `_Assignment`, and the other order of its two sequences."""
        expected = {
            (1, 0): ([1, 2], [3, 0], [3, 0, 1, 2]),
            (0, 1): ([0, 3], [2, 1], [0, 3, 2, 1]),
        }
        found = set()
        for seed in range(10):
            assignment = composition._Assignment(
                [(0, 1), (1, 0)], tf.constant(2), tf.constant([seed, 1], tf.int64)
            )
            order = tuple(assignment._sequences.numpy()[:, 0].tolist())
            rows = [assignment.rows_of(n).numpy().tolist() for n in range(2)]
            assert (*rows, assignment.places().numpy().tolist()) == expected[order]
            found.add(order)
        assert found == set(expected)

    @pytest.mark.parametrize("rows", [1, 5, 6, 100])
    def test_without_replacement_the_views_differ_in_kind(self, rows: int) -> None:
        choice = RandomChoice(CROP_MASK_NOTHING, replacement=False)
        views = TwoViews(choice, seed=1)
        inputs = padded(counting(*[10] * rows))
        call = tf.function(lambda: views(inputs, training=True))
        pairs: list[int] = []
        for _ in range(1200 // rows):
            first, second = (kind(view.numpy()) for view in call())
            assert (first != second).all()
            pairs.extend(3 * first + second)
        counts = np.bincount(pairs, minlength=9)
        assert counts[[0, 4, 8]].tolist() == [0, 0, 0]
        assert are_equally_likely(counts[[1, 2, 3, 5, 6, 7]])

    def test_without_replacement_in_a_sequence_of_augmentations(self) -> None:
        choice = RandomChoice(CROP_MASK_NOTHING, replacement=False)
        views = TwoViews([RandomReorder(0.2), choice])
        inputs = padded(counting(*[10] * 60))
        first, second = (kind(view.numpy()) for view in views(inputs, training=True))
        assert (first != second).all()

    def test_where_one_of_them_makes_sequences_longer(self) -> None:
        choice = RandomChoice([RandomInsert(1.0, NEIGHBORS), RandomCrop(0.5)])
        lengths = choice(ragged([[3, 4, 5, 6]] * 200), training=True).row_lengths()
        assert set(lengths.numpy().tolist()) == {2, 8}


class TestByLength:
    def test_short_sequences_are_augmented_differently(self) -> None:
        inputs = padded(counting(*range(9)))
        layer = ByLength(4, short=RandomMask(0.5), long=RandomCrop(0.5))
        view = layer(inputs, training=True, seed=SEED).numpy()
        masked = (view == MASK_ID).any(axis=1)
        cropped = (view != PADDING_ID).sum(axis=1) < np.arange(9)
        assert masked.tolist() == [False] * 2 + [True] * 3 + [False] * 4
        assert cropped.tolist() == [False] * 5 + [True] * 4

    def test_where_one_of_them_makes_sequences_longer(self) -> None:
        layer = ByLength(2, short=RandomInsert(1.0, NEIGHBORS), long=RandomCrop(0.5))
        view = layer(ragged([[3, 4], [5, 6, 7, 8]]), training=True)
        assert view.row_lengths().numpy().tolist() == [4, 2]
