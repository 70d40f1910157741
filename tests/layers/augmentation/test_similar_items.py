"""`RandomSubstitute` and `RandomInsert`: which items come in, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.augmentation.histories import (
    NEIGHBORS,
    SEED,
    VOCABULARY_SIZE,
    are_equally_likely,
    counting,
    items,
    many,
    padded,
    ragged,
)
from tfrs_barlow.ids import MASK_ID
from tfrs_barlow.layers import RandomInsert, RandomSubstitute

both_layers = pytest.mark.parametrize("layer", [RandomSubstitute, RandomInsert])


class TestRandomSubstitute:
    def test_puts_similar_items_in_place_of_its_rate(self) -> None:
        views = many(10, RandomSubstitute(0.3, NEIGHBORS))
        distance = (views - np.arange(3, 13)) // 40
        assert (distance > 0).mean() == pytest.approx(0.3, abs=0.005)
        # Both neighbors are equally likely, though the table has a gap between them.
        counts = np.bincount(distance.ravel(), minlength=3)
        assert len(counts) == 3
        assert are_equally_likely(counts[1:])

    def test_at_least_so_many_of_short_sequences(self) -> None:
        views = many(3, RandomSubstitute(0.1, NEIGHBORS, at_least=2), rows=500)
        assert ((views != [3, 4, 5]).sum(axis=1) == 2).all()
        views = many(1, RandomSubstitute(0.1, NEIGHBORS, at_least=2), rows=50)
        assert (views != 3).all()

    def test_items_without_a_neighbor_stay(self) -> None:
        inputs = tf.constant([[60, MASK_ID, 2, 5000]])
        view = RandomSubstitute(1.0, NEIGHBORS)(inputs, training=True)
        np.testing.assert_array_equal(view, inputs)

    def test_an_item_brings_the_columns_of_its_tables(self) -> None:
        ids = padded([[3, 4, 5, 6], [7, 8]])
        columns = {"item_id": ids, "genre": ids * 2, "tags": tf.stack([ids] * 2, -1)}
        columns["time"] = ids * 100
        numbers = np.arange(VOCABULARY_SIZE)
        tables = {"genre": numbers * 2, "tags": np.stack([numbers] * 2, axis=-1)}
        layer = RandomSubstitute(1.0, NEIGHBORS, item_tables=tables)
        view = layer(columns, training=True, seed=SEED)
        assert not np.isin(ids[ids > 0], view["item_id"]).any()
        np.testing.assert_array_equal(view["genre"], view["item_id"] * 2)
        np.testing.assert_array_equal(view["tags"][..., 1], view["item_id"])
        np.testing.assert_array_equal(view["time"], ids * 100)


class TestRandomInsert:
    @pytest.mark.parametrize("length", [1, 2, 7])
    def test_puts_similar_items_before_its_rate(self, length: int) -> None:
        inputs = tf.RaggedTensor.from_tensor(
            tf.tile(padded(counting(length)), [5000, 1])
        )
        views = RandomInsert(0.4, NEIGHBORS)(inputs, training=True, seed=SEED)
        added = views.row_lengths().numpy() - length
        assert added.mean() / length == pytest.approx(0.4, abs=0.02)
        for view in views[:200].to_list():
            # The items are still there, in their order.
            assert [item for item in view if item < 40] == list(range(3, 3 + length))

    def test_at_least_so_many_into_short_sequences(self) -> None:
        insert = RandomInsert(0.0, NEIGHBORS, at_least=1)
        rows = [[3, 4, 5], [20], []]
        grown = insert(ragged(rows), training=True)
        assert grown.row_lengths().numpy().tolist() == [4, 2, 0]
        of_one_width = insert(padded(rows), training=True)
        assert [len(row) for row in items(of_one_width)] == [3, 2, 0]

    def test_by_hand(self) -> None:
        """At rate 1 each item has one of its two neighbors before it."""
        insert = RandomInsert(1.0, NEIGHBORS)
        (view,) = insert(ragged([[10, 20, 30]]), training=True, seed=SEED).to_list()
        assert view[1::2] == [10, 20, 30]
        assert {view[0] - 10, view[2] - 20, view[4] - 30} <= {40, 80}

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_a_dense_row_keeps_its_width_and_its_latest_items(self, side: str) -> None:
        rows = [[10, 20, 30], [39]]
        insert = RandomInsert(1.0, NEIGHBORS)
        expected = insert(ragged(rows), training=True, seed=SEED).to_list()
        view = insert(padded(rows, side, 4), training=True, seed=SEED)
        assert view.shape == (2, 4)
        assert items(view) == [row[-4:] for row in expected]

    def test_times_stay_sorted(self) -> None:
        ids = ragged([[3, 4, 5], [6, 7], []])
        columns = {"item_id": ids, "time": ids * 100}
        view = RandomInsert(0.7, NEIGHBORS)(columns, training=True, seed=SEED)
        assert view["item_id"].flat_values.shape[0] > 5
        for times in view["time"].to_list():
            assert times == sorted(times)


@both_layers
@pytest.mark.parametrize(
    ("neighbors", "message"),
    [
        (np.zeros(5, int), "integers of shape"),
        (np.zeros([5, 2]), "integers of shape.*float64"),
        (None, "integers of shape"),
        (np.full([5, 2], 5), "below their number of rows, 5"),
        (np.full([5, 2], -1), "below their number of rows"),
        (np.zeros([5, 0], int), "at least one column"),
    ],
)
def test_bad_neighbors_are_named(layer: Any, neighbors: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"neighbors must be.*{message}"):
        layer(0.5, neighbors)


@both_layers
def test_a_table_of_text_is_saved(layer: Any) -> None:
    titles = tf.constant([b"", b"", b"", b"Alien", b"Brazil"]).numpy()
    layer = layer(1.0, [[0], [0], [0], [4], [3]], item_tables={"title": titles})
    same = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
    ids, titles = padded([[3]], width=2), tf.constant([["Alien", ""]])
    columns = {"item_id": ids, "title": titles}
    view = same(columns, training=True, seed=SEED)
    assert b"Brazil" in view["title"].numpy()


@both_layers
@pytest.mark.parametrize(
    ("table", "column"),
    [
        (np.zeros([5, 2], int), padded([[1]])),
        (np.zeros(5), padded([[1]])),
        (np.zeros(5, int), tf.constant([["a"]])),
    ],
)
def test_a_table_that_does_not_fit_its_column(
    layer: Any, table: np.ndarray, column: tf.Tensor
) -> None:
    augment = layer(1.0, [[0], [0], [0], [4], [3]], item_tables={"genre": table})
    columns = {"item_id": padded([[3]]), "genre": column}
    with pytest.raises(ValueError, match=r"item_tables\['genre'\] must hold"):
        augment(columns, training=True)


@both_layers
def test_neighbors_that_the_dtype_cannot_hold(layer: Any) -> None:
    neighbors = np.zeros([300, 1], int)
    neighbors[3] = 299
    with pytest.raises(ValueError, match="ids up to 299, but the item ids are uint8"):
        layer(1.0, neighbors)(tf.constant([[3]], tf.uint8), training=True)


@both_layers
def test_bad_tables_are_named(layer: Any) -> None:
    table = np.arange(VOCABULARY_SIZE)
    with pytest.raises(ValueError, match=r"item_tables.*\['genre'\]"):
        layer(0.5, NEIGHBORS, item_tables={"genre": table})(
            padded([[3, 4]]), training=True
        )
    with pytest.raises(ValueError, match=r"item_tables\['genre'\].*200 ids"):
        layer(0.5, NEIGHBORS, item_tables={"genre": np.zeros(3)})
    with pytest.raises(TypeError, match="item_tables must be a dict"):
        layer(0.5, NEIGHBORS, item_tables=table)
