"""What holds for every augmentation, whatever it does."""

from __future__ import annotations

import pathlib
from typing import Any

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.layers.augmentation.every_layer import LAYERS, equal_gaps, every_layer
from tests.layers.augmentation.histories import (
    SEED,
    counting,
    history,
    lists,
    padded,
    ragged_history,
    times_of,
    with_columns,
)
from tfrs_barlow.ids import FIRST_ITEM_ID, MASK_ID, PADDING_ID

# Few different times between items, so that there are ties; or any at all.
gap_lists = st.lists(st.integers(0, 2) | st.integers(0, 3 * 10**7), max_size=10)
rows_of_times = st.lists(
    st.just([]) | gap_lists.map(times_of), min_size=1, max_size=5
).map(tuple)


@every_layer
@hypothesis.given(
    rows=rows_of_times,
    extra=st.integers(0, 3),
    seed=st.integers(0, 2**31),
    prefer=st.sampled_from(["minimum", "maximum"]),
)
@hypothesis.settings(max_examples=12, deadline=None)
def test_every_form_gives_the_same_result(
    name: str, rows: tuple[list[int], ...], extra: int, seed: int, prefer: str
) -> None:
    seeds = tf.constant([seed, 1], tf.int64)
    width = 2 * max(len(row) for row in rows) + extra + 1
    layer = LAYERS[name](**({"prefer": prefer} if "time" in name else {}))
    expected = lists(layer(ragged_history(*rows), training=True, seed=seeds))
    for side in ("right", "left"):
        columns = history(*rows, side=side, width=width)
        view = layer(columns, training=True, seed=seeds)
        # Padding is 0 in every column, and on its side.
        for key, column in view.items():
            as_padded = padded(expected[key], side, width)
            np.testing.assert_array_equal(column, as_padded)
    are_aligned(name, expected, rows)


def are_aligned(name: str, view: dict[str, Any], rows: tuple[list[int], ...]) -> None:
    """Whether each item has its own genre, rating and time, and where it may be from.

    The column `original` shows at which position it was, or which item it is like.
    """
    for number, times in enumerate(rows):
        row = [view[key][number] for key in ("item_id", "genre", "rating", "original")]
        assert bool(row[0]) == bool(times), "Only an empty sequence may be empty."
        before = -1
        for item, genre, rating, original, time in zip(
            *row, view["timestamp"][number], strict=True
        ):
            brings_items_in = name.endswith(("substitute", "insert"))
            new = item in (original + 40, original + 80) and brings_items_in
            assert new or item in (original, MASK_ID)
            assert genre == 2 * (original if item == MASK_ID else item)
            assert rating == original / 4
            position = original - FIRST_ITEM_ID
            if name == "time_interval_insert" and position == before:
                assert new
                assert time == (times[position] + times[position + 1]) // 2
            elif name != "swap_noise":
                assert time == times[position]
            before = position


@every_layer
def test_columns_of_any_kind_stay_aligned(name: str) -> None:
    columns = equal_gaps(*range(21))
    ids = columns["item_id"]
    columns["title"] = tf.where(ids > 0, tf.strings.as_string(ids), "")
    columns["categories"] = tf.stack([ids * 2, ids * 3], axis=-1)
    # Keras would round float64 to float32: Unix seconds to two minutes.
    columns["precise"] = tf.where(ids > 0, 1.7e9 + tf.cast(ids, tf.float64), 0)
    view = LAYERS[name]()(columns, training=True, seed=SEED)
    original = view["original"].numpy()
    titles = np.where(original > 0, original.astype(str), "").astype(bytes)
    np.testing.assert_array_equal(view["title"], titles)
    both = np.stack([original * 2, original * 3], axis=-1)
    np.testing.assert_array_equal(view["categories"], both)
    precise = np.where(original > 0, 1.7e9 + original, 0)
    np.testing.assert_array_equal(view["precise"], precise)
    assert view["precise"].dtype == tf.float64


@every_layer
def test_beyond_the_items_of_a_row_there_is_only_padding(name: str) -> None:
    # Later augmentations in a chain rely on it.
    layer = LAYERS[name]()
    batch, _ = layer.pack(ragged_history([0, 4, 9, 20], [0], [0, 7], []))
    view = layer.augment(batch, SEED)
    beyond = view.positions.numpy() >= view.lengths.numpy()[:, np.newaxis]
    assert (view.item_ids.numpy() > 0).tolist() == (~beyond).tolist()
    for column in view.columns.values():
        assert not column.numpy()[beyond].any()


@every_layer
def test_is_inert_outside_training(name: str) -> None:
    inputs = equal_gaps(*[10] * 8)
    assert LAYERS[name]()(inputs, training=False) == inputs
    assert LAYERS[name]()(inputs) == inputs
    active = LAYERS[name](always_active=True)(inputs, training=False)
    assert not np.array_equal(active["item_id"], inputs["item_id"])


@every_layer
def test_each_call_draws_anew_and_a_seed_repeats_the_run(name: str) -> None:
    inputs = equal_gaps(*[30] * 4)
    make = LAYERS[name]
    first, again, other = make(seed=1), make(seed=1), make(seed=2)
    run = [first(inputs, training=True)["item_id"].numpy() for _ in range(3)]
    for number, view in enumerate(run):
        assert not np.array_equal(view, other(inputs, training=True)["item_id"])
        np.testing.assert_array_equal(view, again(inputs, training=True)["item_id"])
        for later in run[number + 1 :]:
            assert not np.array_equal(view, later)


@every_layer
def test_a_restored_layer_continues_its_draws(
    name: str, tmp_path: pathlib.Path
) -> None:
    inputs = equal_gaps(*[30] * 4)
    layer, restored = LAYERS[name](seed=1), LAYERS[name](seed=1)
    layer(inputs, training=True)
    tf.train.Checkpoint(layer=layer).write(str(tmp_path / "checkpoint"))
    restored(inputs, training=False)
    tf.train.Checkpoint(layer=restored).read(str(tmp_path / "checkpoint"))
    expected = layer(inputs, training=True)["item_id"]
    np.testing.assert_array_equal(restored(inputs, training=True)["item_id"], expected)


@every_layer
def test_config_round_trip(name: str) -> None:
    inputs = equal_gaps(*[10] * 4)
    inputs["movie"] = inputs.pop("item_id")
    # Not the preference that is the default of any of these layers.
    other = {"prefer": "minimum" if name.endswith("insert") else "maximum"}
    layer = LAYERS[name](
        item_column="movie",
        padding_side="left",
        always_active=True,
        **(other if "time" in name else {}),
    )
    same = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
    assert same.get_config() == layer.get_config()
    np.testing.assert_array_equal(same(inputs)["movie"], layer(inputs)["movie"])


@every_layer
def test_the_input_is_not_changed(name: str) -> None:
    inputs = {key: column.numpy() for key, column in equal_gaps(*[10] * 4).items()}
    before = {key: column.copy() for key, column in inputs.items()}
    LAYERS[name]()(inputs, training=True)
    np.testing.assert_equal(inputs, before)


@every_layer
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (3, 5)])
def test_nothing_to_augment(name: str, shape: tuple[int, int]) -> None:
    zeros = tf.zeros(shape, tf.int32)
    columns = with_columns({"item_id": zeros, "timestamp": zeros})
    for column in LAYERS[name]()(columns, training=True).values():
        np.testing.assert_array_equal(column, np.zeros(shape))


@every_layer
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "uint32", "int64", "uint64"]
)
def test_item_ids_of_any_integer_dtype(name: str, dtype: str) -> None:
    ids = tf.cast(padded(counting(4, 6)), dtype)
    times = padded([times_of([1, 5, 2]), times_of([1, 5, 2, 4, 1])])
    columns = {"item_id": ids, "timestamp": times, "genre": tf.cast(ids, tf.int32) * 2}
    view = LAYERS[name]()(columns, training=True, seed=SEED)
    assert view["item_id"].dtype == dtype
    found = view["item_id"].numpy().astype(int)
    genres = view["genre"].numpy()
    np.testing.assert_array_equal(genres[found > MASK_ID], found[found > MASK_ID] * 2)
    assert ((found == PADDING_ID) == (genres == 0)).all()
