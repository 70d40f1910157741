"""What holds for every augmentation, whatever it does."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
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
    counting,
    history,
    lists,
    padded,
    ragged_history,
    times_of,
    unpadded,
    with_columns,
)
from tfrs_barlow.ids import FIRST_ITEM_ID, MASK_ID, PADDING_ID
from tfrs_barlow.layers import (
    ByLength,
    RandomChoice,
    RandomCrop,
    RandomDrop,
    RandomInsert,
    RandomMask,
    RandomReorder,
    RandomSubstitute,
    SegmentMask,
    Sequential,
    SwapNoise,
    TimeIntervalCrop,
    TimeIntervalInsert,
    TimeIntervalMask,
    TimeIntervalReorder,
    TimeIntervalSubstitute,
    TwoViews,
)

SIMILAR = {"neighbors": NEIGHBORS, "item_tables": GENRES}
LAYERS: dict[str, Callable[..., tf.keras.layers.Layer]] = {
    "random_mask": lambda **settings: RandomMask(0.4, **settings),
    "segment_mask": lambda **settings: SegmentMask(0.4, **settings),
    "random_crop": lambda **settings: RandomCrop(0.6, **settings),
    "random_crop_with_suffix": lambda **settings: RandomCrop(
        0.6, keep_suffix=2, **settings
    ),
    "random_drop": lambda **settings: RandomDrop(0.4, **settings),
    "random_reorder": lambda **settings: RandomReorder(0.5, **settings),
    "swap_noise": lambda **settings: SwapNoise(0.4, **settings),
    "random_substitute": lambda **settings: RandomSubstitute(
        0.4, **SIMILAR, **settings
    ),
    "random_insert": lambda **settings: RandomInsert(0.4, **SIMILAR, **settings),
    "sequential": lambda **settings: Sequential(
        [RandomCrop(0.6), RandomDrop(0.2), SegmentMask(0.3)], **settings
    ),
    "random_choice": lambda **settings: RandomChoice(
        [RandomCrop(0.6), RandomDrop(0.2), SegmentMask(0.3)], **settings
    ),
    "by_length": lambda **settings: ByLength(
        3, short=SegmentMask(0.5), long=RandomCrop(0.5), **settings
    ),
    "time_interval_crop": lambda **settings: TimeIntervalCrop(0.7, **settings),
    "time_interval_reorder": lambda **settings: TimeIntervalReorder(0.4, **settings),
    "time_interval_mask": lambda prefer="minimum", **settings: TimeIntervalMask(
        0.5, prefer=prefer, **settings
    ),
    "time_interval_substitute": lambda **settings: TimeIntervalSubstitute(
        0.4, **SIMILAR, **settings
    ),
    "time_interval_insert": lambda **settings: TimeIntervalInsert(
        0.5, **SIMILAR, **settings
    ),
}
every_layer = pytest.mark.parametrize("name", LAYERS)

# Few different times between items, so that there are ties; or any at all.
gap_lists = st.lists(st.integers(0, 2) | st.integers(0, 3 * 10**7), max_size=10)
rows_of_times = st.lists(
    st.just([]) | gap_lists.map(times_of), min_size=1, max_size=5
).map(tuple)


def equal_gaps(*lengths: int) -> dict[str, Any]:
    """Histories in which time passes evenly, so that all choices by time are ties."""
    return history(*(list(range(START, START + length)) for length in lengths))


def preferences(name: str) -> list[dict[str, str]]:
    """The settings under which a layer reads times, or none."""
    if not name.startswith("time_interval"):
        return [{}]
    return [{"prefer": "minimum"}, {"prefer": "maximum"}]


@every_layer
@hypothesis.given(
    rows=rows_of_times, extra=st.integers(0, 3), seed=st.integers(0, 2**31)
)
@hypothesis.settings(max_examples=15, deadline=None)
def test_every_form_gives_the_same_result(
    name: str, rows: tuple[list[int], ...], extra: int, seed: int
) -> None:
    seeds = tf.constant([seed, 1], tf.int64)
    width = 2 * max(len(row) for row in rows) + extra + 1
    for preference in preferences(name):
        layer = LAYERS[name](**preference)
        expected = lists(layer(ragged_history(*rows), training=True, seed=seeds))
        for side in ("right", "left"):
            columns = history(*rows, side=side, width=width)
            view = layer(columns, training=True, seed=seeds)
            assert unpadded(view) == expected
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
def test_eager_graph_xla_and_datasets_agree(name: str) -> None:
    rng = np.random.default_rng(0)
    gaps = [rng.choice([0, 1, 2, 60, 86_400, 10**7], n) for n in range(16)]
    columns = history([], *map(times_of, gaps))
    # Fractions, so that sums of their products would be rounded.
    fractions = tf.cast(columns["timestamp"], tf.float64) / 7
    inputs = {"item_id": columns["item_id"], "timestamp": fractions}
    if name.endswith(("substitute", "insert")):
        inputs["genre"] = columns["genre"]
    layer = LAYERS[name]()

    def augment(seed: tf.Tensor) -> Any:
        return layer(inputs, training=True, seed=seed)

    graph = tf.function(augment)
    seeds = tf.constant([[step, 7] for step in range(6)], tf.int64)
    expected = [graph(seed) for seed in seeds]
    xla = tf.function(augment, jit_compile=True)
    for run in (augment, xla):
        for seed, view in zip(seeds, expected, strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, run(seed), view)
    # In parallel calls results depend on the seed alone.
    dataset = tf.data.Dataset.from_tensor_slices(seeds)
    views = dataset.map(graph, num_parallel_calls=4)
    for ours, theirs in zip(views, expected, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, ours, theirs)


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
    for preference in preferences(name):
        layer = LAYERS[name](
            item_column="movie", padding_side="left", always_active=True, **preference
        )
        same = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
        assert same.get_config() == layer.get_config()
        np.testing.assert_array_equal(same(inputs)["movie"], layer(inputs)["movie"])


def test_a_saved_model_draws_as_its_layers_do(tmp_path: pathlib.Path) -> None:
    """One layer of each kind: their configurations are all tested above."""
    columns = equal_gaps(20, 2, 0)
    inputs = {
        name: tf.keras.Input([None], dtype=columns[name].dtype, name=name)
        for name in ("item_id", "timestamp", "genre")
    }
    columns = {name: columns[name] for name in inputs}
    views = [
        LAYERS[name](seed=3, always_active=True, name=name)(inputs)["item_id"]
        for name in (
            *("random_mask", "random_reorder", "swap_noise"),
            *("random_insert", "random_choice", "time_interval_crop"),
        )
    ]
    model = tf.keras.Model(inputs, views)
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    model.export(tmp_path / "saved_model")
    exported = tf.saved_model.load(tmp_path / "saved_model")
    for _ in range(2):
        expected = model(columns)
        served = exported.serve([columns[name] for name in sorted(columns)])
        for views in (loaded(columns), served):
            tf.nest.map_structure(np.testing.assert_array_equal, views, expected)


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


def test_nothing_to_augment_in_a_graph() -> None:
    layers = [LAYERS[name]() for name in list(LAYERS)[:7]]
    views = TwoViews(RandomChoice(layers))
    spec = tf.TensorSpec([None, None], tf.int32)
    function = tf.function(
        lambda ids: views(ids, training=True), input_signature=[spec]
    )
    for shape in [(0, 5), (3, 0), (0, 0)]:
        first, second = function(tf.zeros(shape, tf.int32))
        assert first.shape == second.shape == shape


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_augment_under_xla(shape: tuple[int, int]) -> None:
    choice = RandomChoice([RandomCrop(0.6), RandomMask(0.4)])
    views = TwoViews(choice, jit_compile=True)
    first, second = views(tf.zeros(shape, tf.int32), training=True)
    assert first.shape == second.shape == shape


@every_layer
@pytest.mark.parametrize(
    "dtype",
    ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"],
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
