"""Augmentations: what holds for all of them, then what each one does."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from scipy import stats

from tfrs_barlow.data import FIRST_ITEM_ID, MASK_ID, PADDING_ID
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
    TwoViews,
)

# Of each item from 3 to 51 the two that follow; of those after, none.
NEIGHBORS = np.zeros((1000, 3), np.int32)
NEIGHBORS[3:52, 0] = np.arange(4, 53)
NEIGHBORS[3:52, 2] = np.arange(5, 54)

AUGMENTATIONS = {
    "random_mask": lambda **settings: RandomMask(0.4, **settings),
    "segment_mask": lambda **settings: SegmentMask(0.4, **settings),
    "random_crop": lambda **settings: RandomCrop(0.6, **settings),
    "random_drop": lambda **settings: RandomDrop(0.4, **settings),
    "random_reorder": lambda **settings: RandomReorder(0.5, **settings),
    "sequential": lambda **settings: Sequential(
        [RandomCrop(0.6), RandomReorder(0.5), RandomMask(0.3)], **settings
    ),
    "random_crop_with_suffix": lambda **settings: RandomCrop(
        0.6, keep_suffix=2, **settings
    ),
    "random_choice": lambda **settings: RandomChoice(
        [RandomCrop(0.6), RandomReorder(0.5), SegmentMask(0.3)], **settings
    ),
    "by_length": lambda **settings: ByLength(
        3, short=RandomMask(0.5), long=RandomCrop(0.5), **settings
    ),
}
BRINGING_ITEMS_IN = {
    "swap_noise": lambda **settings: SwapNoise(0.4, **settings),
    "random_substitute": lambda **settings: RandomSubstitute(
        0.4, NEIGHBORS, **settings
    ),
    "random_insert": lambda **settings: RandomInsert(0.4, NEIGHBORS, **settings),
}
every_augmentation = pytest.mark.parametrize(
    "make",
    [*AUGMENTATIONS.values(), *BRINGING_ITEMS_IN.values()],
    ids=[*AUGMENTATIONS, *BRINGING_ITEMS_IN],
)
every_one_of_own_items = pytest.mark.parametrize(
    "make", AUGMENTATIONS.values(), ids=AUGMENTATIONS
)
SEED = tf.constant([3, 5], tf.int64)

# Distinct items within a sequence, so that each can be told where it has gone.
sequences = st.lists(
    st.integers(0, 12).map(lambda n: list(range(FIRST_ITEM_ID, FIRST_ITEM_ID + n))),
    min_size=1,
    max_size=6,
)


def padded(rows, side="right", width=None):
    width = max([len(row) for row in rows] + [1]) if width is None else width
    fill = [[PADDING_ID] * (width - len(row)) for row in rows]
    pairs = zip(rows, fill, strict=True)
    dense = [row + pad if side == "right" else pad + row for row, pad in pairs]
    return tf.constant(dense, tf.int32)


def ragged(rows):
    return tf.ragged.constant(rows, ragged_rank=1, dtype=tf.int32)


def items(dense):
    """The rows without their padding."""
    return [[int(item) for item in row if item] for row in np.asarray(dense)]


@every_one_of_own_items
@hypothesis.given(rows=sequences, extra=st.integers(0, 3), seed=st.integers(0, 2**31))
@hypothesis.settings(max_examples=25, deadline=None)
def test_every_form_gives_the_same_result(make, rows, extra, seed):
    layer = make()
    width = max(len(row) for row in rows) + extra + 1
    seed = tf.constant([seed, 1], tf.int64)
    expected = layer(ragged(rows), training=True, seed=seed)
    right = layer(padded(rows, "right", width), training=True, seed=seed)
    left = layer(padded(rows, "left", width), training=True, seed=seed)

    assert isinstance(expected, tf.RaggedTensor)
    assert items(right) == items(left) == expected.to_list()
    # Padding stays on its side.
    np.testing.assert_array_equal(right, padded(items(right), "right", width))
    np.testing.assert_array_equal(left, padded(items(left), "left", width))
    for before, after in zip(rows, items(right), strict=True):
        assert bool(before) == bool(after), "Only an empty sequence may be empty."
        assert set(after) <= {*before, MASK_ID}


@every_augmentation
def test_beyond_the_items_of_a_row_there_is_nothing(make):
    # What comes after it in a chain takes that for granted.
    layer = make()
    batch, _ = layer.pack(ragged([[3, 4, 5, 6], [7], [8, 9], []]))
    view = layer.augment(batch, SEED)
    beyond = view.positions.numpy() >= view.lengths.numpy()[:, np.newaxis]
    assert (view.item_ids.numpy() > 0).tolist() == (~beyond).tolist()


@every_one_of_own_items
def test_columns_stay_aligned(make):
    ids = tf.random.uniform([32, 20], FIRST_ITEM_ID, 1000, tf.int32)
    ids = tf.where(tf.sequence_mask(tf.range(32) % 21, 20), ids, PADDING_ID)
    columns = {
        "item_id": ids,
        "time": tf.cast(ids, tf.float32) / 2,
        "title": tf.where(ids > 0, tf.strings.as_string(ids), ""),
        "categories": tf.stack([ids * 2, ids * 3], axis=-1),
        # To tell where a masked item comes from.
        "original": ids,
    }
    views = make()(columns, training=True, seed=SEED)
    original = views["original"].numpy()
    np.testing.assert_array_equal(views["time"], original / 2)
    titles = np.where(original > 0, original.astype(str), "").astype(bytes)
    np.testing.assert_array_equal(views["title"], titles)
    both = np.stack([original * 2, original * 3], axis=-1)
    np.testing.assert_array_equal(views["categories"], both)
    visible = views["item_id"].numpy() != MASK_ID
    np.testing.assert_array_equal(views["item_id"].numpy()[visible], original[visible])


@every_one_of_own_items
def test_columns_keep_their_precision(make):
    """Keras would round float64 to float32: Unix seconds to two minutes."""
    ids = padded([list(range(3, 13))] * 4)
    times = 1.7e9 + tf.cast(ids, tf.float64)
    columns = {"item_id": ids, "time": times, "original": ids}
    view = make()(columns, training=True, seed=SEED)
    assert view["time"].dtype == tf.float64
    original = view["original"].numpy()
    kept = original != PADDING_ID
    np.testing.assert_array_equal(view["time"].numpy()[kept], 1.7e9 + original[kept])


@every_one_of_own_items
def test_ragged_columns(make):
    rows = [[3, 4, 5], [], [6, 7, 8, 9]]
    columns = {"item_id": ragged(rows), "rating": ragged(rows) * 10}
    views = make()(columns, training=True, seed=SEED)
    pairs = zip(views["item_id"].to_list(), views["rating"].to_list(), strict=True)
    for ids, ratings in pairs:
        assert len(ids) == len(ratings)
        for item, rating in zip(ids, ratings, strict=True):
            assert item == MASK_ID or rating == 10 * item


@every_augmentation
@pytest.mark.parametrize("jit_compile", [False, True])
def test_eager_graph_and_xla_agree(make, jit_compile):
    layer = make()
    inputs = padded([list(range(3, 3 + n)) for n in range(17)])
    function = tf.function(
        lambda ids: layer(ids, training=True, seed=SEED), jit_compile=jit_compile
    )
    expected = layer(inputs, training=True, seed=SEED)
    np.testing.assert_array_equal(function(inputs), expected)


@every_augmentation
def test_in_a_dataset_results_depend_on_the_seed_alone(make):
    layer = make()
    inputs = padded([list(range(3, 3 + n)) for n in range(17)])

    def views(parallel_calls):
        dataset = tf.data.Dataset.range(8).map(
            lambda step: layer(inputs, training=True, seed=tf.stack([step, 0])),
            num_parallel_calls=parallel_calls,
        )
        return list(dataset.as_numpy_iterator())

    np.testing.assert_array_equal(views(1), views(4))


@every_augmentation
def test_is_inert_outside_training(make):
    inputs = padded([list(range(3, 13))] * 8)
    assert make()(inputs, training=False) is inputs
    assert make()(inputs) is inputs
    active = make(always_active=True)(inputs, training=False)
    assert not np.array_equal(active, inputs)


@every_augmentation
def test_each_call_draws_anew_and_a_seed_repeats_the_run(make):
    inputs = padded([list(range(3, 43))] * 4)
    first, again, other = make(seed=1), make(seed=1), make(seed=2)
    run = [first(inputs, training=True).numpy() for _ in range(3)]
    for number, view in enumerate(run):
        assert not np.array_equal(view, other(inputs, training=True))
        np.testing.assert_array_equal(view, again(inputs, training=True))
        for later in run[number + 1 :]:
            assert not np.array_equal(view, later)


@every_augmentation
def test_a_restored_layer_goes_on_drawing(make, tmp_path):
    inputs = padded([list(range(3, 43))] * 4)
    layer, restored = make(seed=1), make(seed=1)
    layer(inputs, training=True)
    tf.train.Checkpoint(layer=layer).write(str(tmp_path / "checkpoint"))
    restored(inputs, training=False)
    tf.train.Checkpoint(layer=restored).read(str(tmp_path / "checkpoint"))
    expected = layer(inputs, training=True)
    np.testing.assert_array_equal(restored(inputs, training=True), expected)


@every_augmentation
def test_config_round_trip(make):
    layer = make(item_column="movie", padding_side="left", always_active=True)
    config = tf.keras.layers.serialize(layer)
    same = tf.keras.layers.deserialize(config)
    assert same.get_config() == layer.get_config()
    inputs = {"movie": padded([list(range(3, 13))] * 4)}
    np.testing.assert_array_equal(same(inputs)["movie"], layer(inputs)["movie"])


@pytest.mark.parametrize("form", ["model.keras", "saved_model"])
def test_a_saved_model_draws_as_its_layers_do(form, tmp_path):
    inputs = tf.keras.Input([None], dtype=tf.int32)
    every = {**AUGMENTATIONS, **BRINGING_ITEMS_IN}
    views = []
    for name, make in every.items():
        layer = TwoViews(make(), seed=3, always_active=True, name=name)
        views.extend(layer(inputs))
    model = tf.keras.Model(inputs, views)
    if form == "saved_model":
        model.export(tmp_path / form)
        served = tf.saved_model.load(tmp_path / form)
        loaded = served.serve
    else:
        model.save(tmp_path / form)
        loaded = tf.keras.models.load_model(tmp_path / form)
    ids = padded([list(range(3, 23)), [3, 4], []])
    for _ in range(2):
        for ours, theirs in zip(model(ids), loaded(ids), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@every_augmentation
def test_the_input_is_not_changed(make):
    inputs = np.arange(3, 43, dtype=np.int32).reshape(4, 10)
    before = inputs.copy()
    make()(inputs, training=True)
    np.testing.assert_array_equal(inputs, before)


@every_augmentation
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty_batches_and_lengths(make, shape):
    view = make()(tf.zeros(shape, tf.int32), training=True)
    assert view.shape == shape


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty_batches_and_lengths_in_a_graph(shape, jit_compile):
    views = TwoViews(
        [RandomChoice([make() for make in AUGMENTATIONS.values()])],
        jit_compile=jit_compile,
    )
    function = tf.function(lambda ids: views(ids, training=True))
    first, second = function(tf.zeros(shape, tf.int32))
    assert first.shape == second.shape == shape


@every_augmentation
@pytest.mark.parametrize("dtype", [tf.int64, tf.int32, tf.int16, tf.uint8])
def test_any_integer_dtype(make, dtype):
    view = make()(tf.cast(padded([[3, 4, 5, 6]]), dtype), training=True, seed=SEED)
    assert view.dtype == dtype


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (tf.ones([2, 3]), TypeError, "must be integers"),
        (tf.constant([["Alien"]]), TypeError, "must be integers.*vocabulary"),
        (tf.ones([2, 3, 4], tf.int32), TypeError, r"\[batch, length\].*\(2, 3, 4\)"),
        (tf.ones([3], tf.int32), ValueError, r"\[batch, length\].*\(3,\)"),
        ({"movie": tf.ones([2, 3], tf.int32)}, ValueError, "item_id.*movie"),
        (
            {"item_id": tf.ones([2, 3], tf.int32), "user": tf.ones([2])},
            ValueError,
            "'user'",
        ),
        (
            {"item_id": tf.ones([2, 3], tf.int32), "time": ragged([[1], [2]])},
            TypeError,
            "all dense or all ragged",
        ),
        (
            {"item_id": tf.ones([2, 3], tf.int32), "time": tf.ones([2, 2])},
            ValueError,
            r"'time' must have the positions of the item ids.*\(2, 2\) for \(2, 3\)",
        ),
        (
            {"item_id": ragged([[3], [4, 5]]), "time": ragged([[1, 2], [3]])},
            tf.errors.InvalidArgumentError,
            "'time' must have the positions.*rows of other lengths",
        ),
        (
            {
                "item_id": ragged([[3], [4]]),
                "genres": tf.ragged.constant([[["a", "b"]], [["c"]]]),
            },
            ValueError,
            "'genres' is ragged in 2 dimensions",
        ),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_bad_inputs_are_named(inputs, error, message, training):
    with pytest.raises(error, match=message):
        RandomCrop(0.5)(inputs, training=training)


def test_ragged_columns_of_unknown_shapes_need_the_same_number_of_rows():
    spec = tf.RaggedTensorSpec([None, None], tf.int32)
    crop = RandomCrop(0.5)
    crop.build(None)

    @tf.function(input_signature=[spec, spec])
    def cropped(items, times):
        return crop({"item_id": items, "time": times}, training=True)

    with pytest.raises(tf.errors.InvalidArgumentError, match="another number of rows"):
        cropped(ragged([[3], [4, 5]]), ragged([[1]]))


@pytest.mark.parametrize(
    "layer",
    [RandomMask, SegmentMask, RandomCrop, RandomReorder, RandomDrop, SwapNoise],
)
@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_bad_rates(layer, rate):
    with pytest.raises(ValueError, match="rate must be a number .* 0"):
        layer(rate)


@pytest.mark.parametrize("seed", [7, [1, 2, 3], [0.5, 1.0]])
def test_bad_seeds(seed):
    for layer in (RandomCrop(0.5), TwoViews(RandomCrop(0.5))):
        with pytest.raises(ValueError, match="seed must be two integers"):
            layer(padded([[3, 4]]), training=True, seed=seed)


def test_columns_of_unknown_widths_must_share_their_positions():
    spec = {
        "item_id": tf.TensorSpec([None, None], tf.int32),
        "rating": tf.TensorSpec([None, None]),
    }
    reorder = RandomReorder(1.0)
    function = tf.function(
        lambda columns: reorder(columns, training=True), input_signature=[spec]
    )
    ids = padded([[3, 4, 5], [6, 7]])
    function({"item_id": ids, "rating": tf.ones([2, 3])})
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"rating.* must have the"):
        function({"item_id": ids, "rating": tf.ones([2, 2])})


@pytest.mark.parametrize(
    ("partners", "error", "message"),
    [
        ({"item_id": padded([[3]])}, tf.errors.InvalidArgumentError, "as many rows"),
        ({"item_id": tf.ones([2, 3], tf.int64)}, ValueError, "int32.*int64"),
        (
            {"item_id": padded([[3], [4]]), "time": padded([[1], [2]])},
            ValueError,
            "partners must have the columns of inputs.*time",
        ),
    ],
)
def test_partners_that_do_not_fit_are_refused(partners, error, message):
    inputs = {"item_id": padded([[3, 4, 5], [6, 7]])}
    with pytest.raises(error, match=message):
        TwoViews(RandomCrop(0.5))(inputs, training=True, partners=partners)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="padding_side"):
        RandomCrop(0.5, padding_side="both")
    with pytest.raises(ValueError, match="keep_suffix must be an integer"):
        RandomCrop(0.5, keep_suffix=-1)
    with pytest.raises(ValueError, match="at least 1 to choose from"):
        RandomChoice([])
    with pytest.raises(ValueError, match=r"at least 2 to choose from.*holds 1"):
        RandomChoice([RandomCrop(0.5)], replacement=False)
    with pytest.raises(TypeError, match="augmentation layers"):
        Sequential([tf.keras.layers.Dense(3)])
    with pytest.raises(ValueError, match=r"mask_values.*\['genre'\]"):
        RandomMask(0.5, mask_values={"genre": 0})(padded([[3, 4]]), training=True)
    with pytest.raises(ValueError, match=r"fixed_columns.*\['tiem'\]"):
        SwapNoise(0.5, fixed_columns=["tiem"])(padded([[3, 4]]), training=True)
    with pytest.raises(TypeError, match=r"fixed_columns must be a sequence.*'time'"):
        SwapNoise(0.5, fixed_columns="time")
    with pytest.raises(TypeError, match=r"seed must be an integer .*, but it is 1\.5"):
        RandomCrop(0.5, seed=1.5)
    with pytest.raises(TypeError, match="keep_suffix must be an integer"):
        RandomCrop(0.5, keep_suffix=0.5)


def test_a_generator_of_augmentations():
    layers = Sequential(make() for make in (AUGMENTATIONS["random_mask"],))
    assert len(layers.augmentations) == 1


def test_in_the_scope_of_a_strategy(tmp_path):
    """There is no replica there: it draws as the first one."""
    ids = padded([[3, 4, 5, 6]])
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        first, _ = TwoViews(RandomCrop(0.5))(ids, training=True)
        inputs = tf.keras.Input([None], dtype=tf.int32)
        crop = RandomCrop(0.5, always_active=True)
        tf.keras.Model(inputs, crop(inputs)).save(tmp_path / "crop.keras")
        view = tf.keras.models.load_model(tmp_path / "crop.keras")(ids)
    assert len(items(first)[0]) == len(items(view)[0]) == 2


def many(length, layer, rows=20_000):
    """Independent draws for one sequence of a given length."""
    inputs = tf.tile(padded([list(range(3, 3 + length))]), [rows, 1])
    return layer(inputs, training=True, seed=SEED).numpy()


def p_value_of_uniform(values, choices):
    return stats.chisquare(np.bincount(values, minlength=choices)).pvalue


class TestRandomMask:
    @pytest.mark.parametrize("length", [2, 3, 10])
    def test_hides_its_rate_of_every_length(self, length):
        hidden = many(length, RandomMask(0.3)) == MASK_ID
        assert hidden.sum(axis=1).min() >= int(0.3 * length)
        assert hidden.sum(axis=1).max() <= int(0.3 * length) + 1
        assert hidden.mean() == pytest.approx(0.3, abs=0.005)

    def test_every_position_alike(self):
        hidden = many(6, RandomMask(0.5)) == MASK_ID
        assert stats.chisquare(hidden.sum(axis=0)).pvalue > 0.001
        # And every set of three positions alike.
        sets = np.unique(hidden, axis=0, return_counts=True)[1]
        assert len(sets) == 20
        assert stats.chisquare(sets).pvalue > 0.001

    def test_one_item_stays_visible(self):
        assert (many(5, RandomMask(1.0)) != MASK_ID).sum(axis=1).tolist() == [1] * 20000
        assert many(1, RandomMask(0.9)).tolist() == [[3]] * 20000

    def test_hides_the_columns_it_is_told_to(self):
        columns = {"item_id": padded([[3, 4, 5, 6]]), "genre": padded([[7, 7, 7, 7]])}
        mask = RandomMask(0.5, mask_values={"item_id": MASK_ID, "genre": -1})
        view = mask(columns, training=True)
        np.testing.assert_array_equal(
            view["genre"].numpy() == -1, view["item_id"].numpy() == MASK_ID
        )
        assert (view["genre"].numpy() == -1).sum() == 2

    @pytest.mark.parametrize(
        "value", [b"?", np.array("?"), tf.constant("?"), np.array(["?", "?"])]
    )
    def test_what_stands_for_a_hidden_value_is_saved(self, value):
        titles = tf.constant([[["a", "b"], ["c", "d"]]])
        columns = {"item_id": padded([[3, 4]]), "titles": titles}
        mask = RandomMask(0.5, mask_values={"titles": value}, seed=1)
        same = tf.keras.layers.deserialize(tf.keras.layers.serialize(mask))
        view = mask(columns, training=True)["titles"].numpy()
        np.testing.assert_array_equal(same(columns, training=True)["titles"], view)
        assert (view == b"?").sum() == 2


class TestSegmentMask:
    def test_hides_one_stretch_that_starts_anywhere(self):
        hidden = many(10, SegmentMask(0.4)) == MASK_ID
        assert (hidden.sum(axis=1) == 4).all()
        starts = hidden.argmax(axis=1)
        for row, start in zip(hidden[:100], starts, strict=False):
            assert row[start : start + 4].all()
        assert p_value_of_uniform(starts, 7) > 0.001


class TestRandomCrop:
    @pytest.mark.parametrize("length", [2, 3, 10])
    def test_keeps_its_rate_of_every_length(self, length):
        lengths = (many(length, RandomCrop(0.6)) != 0).sum(axis=1)
        assert lengths.mean() / length == pytest.approx(0.6, abs=0.005)

    def test_keeps_one_stretch_that_starts_anywhere(self):
        crops = many(10, RandomCrop(0.6))[:, :6]
        np.testing.assert_array_equal(np.diff(crops), 1)
        # The last of the five starts keeps the most recent item: peers never do.
        assert p_value_of_uniform(crops[:, 0] - 3, 5) > 0.001

    def test_keeps_the_suffix_and_a_stretch_before_it(self):
        crops = many(10, RandomCrop(0.6, keep_suffix=2))[:, :6]
        assert (crops[:, 4:] == [11, 12]).all()
        np.testing.assert_array_equal(np.diff(crops[:, :4]), 1)
        assert p_value_of_uniform(crops[:, 0] - 3, 5) > 0.001

    @pytest.mark.parametrize("length", [1, 2, 3, 5])
    def test_the_suffix_stays_within_the_rate(self, length):
        views = many(length, RandomCrop(0.6, keep_suffix=9))
        lengths = (views != 0).sum(axis=1)
        assert lengths.mean() == pytest.approx(max(0.6 * length, 1), abs=0.02)
        assert (views.max(axis=1) == 2 + length).all()

    def test_never_empties_a_sequence(self):
        assert ((many(3, RandomCrop(0.0)) != 0).sum(axis=1) == 1).all()


class TestRandomDrop:
    @pytest.mark.parametrize("length", [2, 3, 10])
    def test_drops_its_rate_of_every_length(self, length):
        lengths = (many(length, RandomDrop(0.3)) != 0).sum(axis=1)
        assert 1 - lengths.mean() / length == pytest.approx(0.3, abs=0.005)

    def test_keeps_the_order_and_drops_every_position_alike(self):
        views = many(6, RandomDrop(0.5))
        assert (np.diff(views[:, :3]) > 0).all()
        kept = np.bincount(views[:, :3].ravel(), minlength=9)[3:]
        assert stats.chisquare(kept).pvalue > 0.001

    def test_one_item_stays(self):
        assert ((many(5, RandomDrop(1.0)) != 0).sum(axis=1) == 1).all()


class TestRandomSubstitute:
    def test_puts_similar_items_in_place_of_its_rate(self):
        views = many(10, RandomSubstitute(0.3, NEIGHBORS))
        distance = views - np.arange(3, 13)
        assert (distance > 0).mean() == pytest.approx(0.3, abs=0.005)
        # Either neighbor is as likely, though the table has a gap between them.
        counts = np.bincount(distance.ravel(), minlength=3)
        assert len(counts) == 3
        assert stats.chisquare(counts[1:]).pvalue > 0.001

    def test_at_least_so_many_of_short_sequences(self):
        views = many(3, RandomSubstitute(0.1, NEIGHBORS, at_least=2), rows=500)
        assert ((views != [3, 4, 5]).sum(axis=1) == 2).all()
        views = many(1, RandomSubstitute(0.1, NEIGHBORS, at_least=2), rows=50)
        assert (views != 3).all()

    def test_items_without_a_neighbor_stay(self):
        inputs = tf.constant([[60, MASK_ID, 2, 5000]])
        view = RandomSubstitute(1.0, NEIGHBORS)(inputs, training=True)
        np.testing.assert_array_equal(view, inputs)

    def test_an_item_brings_its_own_columns(self):
        ids = padded([[3, 4, 5, 6], [7, 8]])
        columns = {"item_id": ids, "genre": ids * 2, "tags": tf.stack([ids] * 2, -1)}
        columns["time"] = ids * 100
        tables = {
            "genre": np.arange(1000) * 2,
            "tags": np.stack([np.arange(1000)] * 2, axis=-1),
        }
        layer = RandomSubstitute(1.0, NEIGHBORS, item_tables=tables)
        view = layer(columns, training=True, seed=SEED)
        assert not np.isin(ids[ids > 0], view["item_id"]).all()
        np.testing.assert_array_equal(view["genre"], view["item_id"] * 2)
        np.testing.assert_array_equal(view["tags"][..., 1], view["item_id"])
        np.testing.assert_array_equal(view["time"], ids * 100)


class TestRandomInsert:
    @pytest.mark.parametrize("length", [1, 2, 7])
    def test_puts_similar_items_before_its_rate(self, length):
        inputs = tf.RaggedTensor.from_tensor(
            tf.tile(padded([list(range(3, 3 + length))]), [5000, 1])
        )
        views = RandomInsert(0.4, NEIGHBORS)(inputs, training=True, seed=SEED)
        added = views.row_lengths().numpy() - length
        assert added.mean() / length == pytest.approx(0.4, abs=0.02)
        for view in views[:200].to_list():
            # The items are still there, in their order.
            rest = iter(view)
            assert all(item in rest for item in range(3, 3 + length))

    def test_at_least_so_many_into_short_sequences(self):
        insert = RandomInsert(0.0, NEIGHBORS, at_least=1)
        rows = [[3, 4, 5], [20], []]
        grown = insert(ragged(rows), training=True)
        assert grown.row_lengths().numpy().tolist() == [4, 2, 0]
        of_one_width = insert(padded(rows), training=True)
        assert [len(row) for row in items(of_one_width)] == [3, 2, 0]

    def test_by_hand(self):
        """At rate 1 each item has one before it that is 1 or 2 further."""
        (view,) = RandomInsert(1.0, NEIGHBORS)(
            ragged([[10, 20, 30]]), training=True, seed=SEED
        ).to_list()
        assert view[1::2] == [10, 20, 30]
        assert {view[0] - 10, view[2] - 20, view[4] - 30} <= {1, 2}

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_a_dense_row_keeps_its_width_and_its_latest_items(self, side):
        rows = [[10, 20, 30], [40]]
        insert = RandomInsert(1.0, NEIGHBORS)
        expected = insert(ragged(rows), training=True, seed=SEED).to_list()
        view = insert(padded(rows, side, 4), training=True, seed=SEED)
        assert view.shape == (2, 4)
        assert items(view) == [row[-4:] for row in expected]

    def test_times_stay_sorted_and_categories_are_its_own(self):
        ids = ragged([[3, 4, 5], [6, 7], []])
        columns = {"item_id": ids, "time": ids * 100, "genre": ids * 2}
        insert = RandomInsert(
            0.7, NEIGHBORS, item_tables={"genre": np.arange(1000) * 2}
        )
        view = insert(columns, training=True, seed=SEED)
        assert view["item_id"].flat_values.shape[0] > 5
        assert view["genre"].to_list() == (view["item_id"] * 2).to_list()
        for times in view["time"].to_list():
            assert times == sorted(times)

    def test_beside_others_in_a_choice(self):
        choice = RandomChoice([RandomInsert(1.0, NEIGHBORS), RandomCrop(0.5)])
        lengths = choice(ragged([[3, 4, 5, 6]] * 200), training=True).row_lengths()
        assert set(lengths.numpy().tolist()) == {2, 8}


@pytest.mark.parametrize("layer", [RandomSubstitute, RandomInsert])
class TestSimilarItems:
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_eager_graph_and_xla_agree(self, layer, jit_compile):
        augment = layer(0.5, NEIGHBORS)
        inputs = padded([list(range(3, 3 + n)) for n in range(17)])

        @tf.function(jit_compile=jit_compile)
        def call(ids):
            return augment(ids, training=True, seed=SEED)

        expected = augment(inputs, training=True, seed=SEED)
        np.testing.assert_array_equal(call(inputs), expected)

    @pytest.mark.parametrize("shape", [(0, 5), (3, 0), (3, 5)])
    def test_nothing_to_draw_from(self, layer, shape):
        view = layer(0.5, NEIGHBORS)(tf.zeros(shape, tf.int64), training=True)
        np.testing.assert_array_equal(view, np.zeros(shape))

    def test_config_round_trip(self, layer):
        augment = layer(0.5, NEIGHBORS, item_tables={"genre": np.arange(1000)}, seed=2)
        same = tf.keras.layers.deserialize(tf.keras.layers.serialize(augment))
        assert same.get_config() == augment.get_config()
        ids = padded([list(range(3, 13))])
        columns = {"item_id": ids, "genre": ids}
        np.testing.assert_array_equal(
            same(columns, training=True)["item_id"],
            augment(columns, training=True)["item_id"],
        )

    @pytest.mark.parametrize(
        ("neighbors", "message"),
        [
            (np.zeros(5, int), "integers of shape"),
            (np.zeros([5, 2]), "integers of shape.*float64"),
            (np.full([5, 2], 5), "below their number of rows, 5"),
            (np.full([5, 2], -1), "below their number of rows"),
            (np.zeros([5, 0], int), "at least one column"),
        ],
    )
    def test_bad_neighbors_are_named(self, layer, neighbors, message):
        with pytest.raises(ValueError, match=message):
            layer(0.5, neighbors)

    def test_a_negative_least_number(self, layer):
        with pytest.raises(ValueError, match="at_least must be an integer"):
            layer(0.5, NEIGHBORS, at_least=-1)

    def test_a_table_of_text_is_saved(self, layer):
        titles = tf.constant([b"", b"", b"", b"Alien", b"Brazil"]).numpy()
        layer = layer(1.0, [[0], [0], [0], [4], [3]], item_tables={"title": titles})
        same = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
        ids, titles = padded([[3]], width=2), tf.constant([["Alien", ""]])
        columns = {"item_id": ids, "title": titles}
        view = same(columns, training=True, seed=SEED)
        assert b"Brazil" in view["title"].numpy()

    @pytest.mark.parametrize(
        ("table", "column"),
        [
            (np.zeros([5, 2], int), padded([[1]])),
            (np.zeros(5), padded([[1]])),
            (np.zeros(5, int), tf.constant([["a"]])),
        ],
    )
    def test_a_table_that_does_not_fit_its_column(self, layer, table, column):
        layer = layer(1.0, [[0], [0], [0], [4], [3]], item_tables={"genre": table})
        columns = {"item_id": padded([[3]]), "genre": column}
        columns |= {"time": tf.constant([[1.0]])}
        with pytest.raises(ValueError, match=r"item_tables\['genre'\] must hold"):
            layer(columns, training=True)

    def test_ids_that_the_dtype_does_not_hold(self, layer):
        neighbors = np.zeros([300, 1], int)
        neighbors[3] = 299
        columns = {"item_id": tf.constant([[3]], tf.uint8)}
        columns |= {"time": tf.constant([[1.0]])}
        with pytest.raises(
            ValueError, match="ids up to 299, but the item ids are uint8"
        ):
            layer(1.0, neighbors)(columns, training=True)

    def test_bad_tables_are_named(self, layer):
        augment = layer(0.5, NEIGHBORS, item_tables={"genre": np.arange(1000)})
        with pytest.raises(ValueError, match=r"item_tables.*\['genre'\]"):
            augment(padded([[3, 4]]), training=True)
        with pytest.raises(ValueError, match=r"item_tables\['genre'\].*1000 ids"):
            layer(0.5, NEIGHBORS, item_tables={"genre": np.zeros(3)})


class TestSwapNoise:
    ROWS = ((3, 4, 5, 6), (), (7,), (8, 9, 10, 11, 12))

    def test_swaps_its_rate_for_items_of_the_batch(self):
        inputs = tf.range(3, 3 + 200_000)[:, tf.newaxis] + tf.zeros([1, 2], tf.int32)
        view = SwapNoise(0.3)(inputs, training=True, seed=SEED).numpy()
        swapped = view != inputs.numpy()
        assert swapped.mean() == pytest.approx(0.3, abs=0.005)
        assert view.min() >= 3
        assert view.max() < 3 + 200_000

    def test_every_item_of_the_batch_alike(self):
        inputs = ragged([list(row) for row in self.ROWS])
        counts = np.zeros(13, int)
        noise = SwapNoise(1.0, seed=1)
        for _ in range(300):
            view = noise(inputs, training=True)
            assert view.row_lengths().numpy().tolist() == [4, 0, 1, 5]
            counts += np.bincount(view.flat_values, minlength=13)
        assert stats.chisquare(counts[3:]).pvalue > 0.001

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_every_form_gives_the_same_result(self, side):
        rows = [list(row) for row in self.ROWS]
        noise = SwapNoise(0.5)
        expected = noise(ragged(rows), training=True, seed=SEED).to_list()
        assert items(noise(padded(rows, side, 8), training=True, seed=SEED)) == expected

    def test_an_item_brings_its_columns_but_for_the_fixed_ones(self):
        ids = padded([list(row) for row in self.ROWS])
        columns = {"item_id": ids, "category": ids * 10, "time": ids * 100}
        noise = SwapNoise(1.0, fixed_columns=["time"])
        view = noise(columns, training=True, seed=SEED)
        assert not np.array_equal(view["item_id"], ids)
        np.testing.assert_array_equal(view["category"], view["item_id"] * 10)
        np.testing.assert_array_equal(view["time"], ids * 100)

    def test_eager_graph_and_xla_agree(self):
        inputs, noise = padded([list(row) for row in self.ROWS]), SwapNoise(0.5)
        expected = noise(inputs, training=True, seed=SEED)
        for jit_compile in (False, True):
            function = tf.function(
                lambda ids: noise(ids, training=True, seed=SEED),
                jit_compile=jit_compile,
            )
            np.testing.assert_array_equal(function(inputs), expected)

    @pytest.mark.parametrize("shape", [(0, 5), (3, 0), (3, 5)])
    def test_nothing_to_swap(self, shape):
        view = SwapNoise(0.5)(tf.zeros(shape, tf.int32), training=True)
        np.testing.assert_array_equal(view, np.zeros(shape))

    def test_config_round_trip(self):
        noise = SwapNoise(0.5, fixed_columns=["time"], seed=3)
        same = tf.keras.layers.deserialize(tf.keras.layers.serialize(noise))
        assert same.get_config() == noise.get_config()


class TestRandomReorder:
    def test_shuffles_one_stretch_uniformly(self):
        orders = many(4, RandomReorder(1.0))
        permutations, counts = np.unique(orders, axis=0, return_counts=True)
        assert len(permutations) == 24
        assert stats.chisquare(counts).pvalue > 0.001

    def test_leaves_the_rest_in_place(self):
        orders = many(10, RandomReorder(0.3))
        moved = orders != np.arange(3, 13)
        first = moved.argmax(axis=1)
        last = 9 - moved[:, ::-1].argmax(axis=1)
        assert (last - first)[moved.any(axis=1)].max() <= 2

    @pytest.mark.parametrize("length", [2, 3, 5])
    def test_changes_short_sequences_too(self, length):
        """Peers' default leaves every sequence of fewer than 10 items as it is."""
        changed = (many(length, RandomReorder(0.2)) != np.arange(3, 3 + length)).any(1)
        assert changed.mean() == pytest.approx(0.5, abs=0.02)

    def test_rate_zero_is_the_identity(self):
        assert (many(5, RandomReorder(0.0)) == np.arange(3, 8)).all()


def kind(views):
    """Which of crop, mask and nothing a row has undergone."""
    cropped = (views == PADDING_ID).any(axis=1)
    masked = (views == MASK_ID).any(axis=1)
    return np.where(cropped, 0, np.where(masked, 1, 2))


CROP_MASK_NOTHING = (RandomCrop(0.5), RandomMask(0.5), RandomReorder(0.0))


@pytest.mark.parametrize(
    "compose",
    [
        lambda inner, **settings: Sequential([inner], **settings),
        lambda inner, **settings: RandomChoice([inner], **settings),
        lambda inner, **settings: ByLength(3, short=inner, long=inner, **settings),
    ],
    ids=["sequential", "random_choice", "by_length"],
)
def test_the_settings_of_a_composition_hold_for_what_it_is_made_of(compose):
    inputs = {"song": padded([list(range(3, 13))])}
    views = [
        compose(RandomCrop(0.6, **own), item_column="song", seed=1)(
            inputs, training=True
        )["song"]
        for own in ({}, {"item_column": "film", "seed": 2, "padding_side": "left"})
    ]
    np.testing.assert_array_equal(*views)


class TestRandomChoice:
    @pytest.mark.parametrize("rows", [1, 2, 3, 7])
    def test_every_sequence_gets_each_alike(self, rows):
        choice = RandomChoice(CROP_MASK_NOTHING, seed=1)
        inputs = padded([list(range(3, 13))] * rows)
        call = tf.function(lambda: choice(inputs, training=True))
        kinds = np.stack([kind(call().numpy()) for _ in range(2000)])
        for row in range(rows):
            assert p_value_of_uniform(kinds[:, row], 3) > 0.001
        # And any two of them are as good as independent.
        if rows == 7:
            table = np.histogram2d(kinds[:, 0], kinds[:, 5], bins=3)[0]
            assert table.min() > 2000 / 9 * 0.5

    @pytest.mark.parametrize("rows", [9, 10, 11])
    def test_the_shares_of_a_batch_are_equal(self, rows):
        counts = np.bincount(kind(many(10, RandomChoice(CROP_MASK_NOTHING), rows)))
        assert counts.sum() == rows
        assert counts.max() <= 4

    def test_each_row_gets_its_own_sequence_back(self):
        inputs = padded([[10 * n, 10 * n + 1] for n in range(1, 30)])
        nothing = [RandomReorder(0.0), RandomMask(0.0)]
        view = RandomChoice(nothing)(inputs, training=True)
        np.testing.assert_array_equal(view, inputs)
        views = TwoViews(RandomChoice(nothing, replacement=False))
        for view in views(inputs, training=True):
            np.testing.assert_array_equal(view, inputs)

    @pytest.mark.parametrize("rows", [1, 5, 6, 100])
    def test_without_replacement_the_views_differ_in_kind(self, rows):
        choice = RandomChoice(CROP_MASK_NOTHING, replacement=False)
        views = TwoViews(choice, seed=1)
        inputs = padded([list(range(3, 13))] * rows)
        call = tf.function(lambda: views(inputs, training=True))
        pairs = []
        for _ in range(1200 // rows):
            first, second = (kind(view.numpy()) for view in call())
            assert (first != second).all()
            pairs.extend(3 * first + second)
        counts = np.bincount(pairs, minlength=9)
        assert counts[[0, 4, 8]].tolist() == [0, 0, 0]
        assert stats.chisquare(counts[[1, 2, 3, 5, 6, 7]]).pvalue > 0.001

    def test_without_replacement_in_a_sequence_of_augmentations(self):
        choice = RandomChoice(CROP_MASK_NOTHING, replacement=False)
        views = TwoViews([RandomReorder(0.2), choice])
        inputs = padded([list(range(3, 13))] * 60)
        first, second = (kind(view.numpy()) for view in views(inputs, training=True))
        assert (first != second).all()


class TestByLength:
    def test_short_sequences_are_treated_otherwise(self):
        inputs = padded([list(range(3, 3 + n)) for n in range(9)])
        layer = ByLength(4, short=RandomMask(0.5), long=RandomCrop(0.5))
        view = layer(inputs, training=True, seed=SEED).numpy()
        masked = (view == MASK_ID).any(axis=1)
        cropped = (view != PADDING_ID).sum(axis=1) < np.arange(9)
        assert masked.tolist() == [False] * 2 + [True] * 3 + [False] * 4
        assert cropped.tolist() == [False] * 5 + [True] * 4

    def test_where_one_of_them_makes_sequences_longer(self):
        layer = ByLength(2, short=RandomInsert(1.0, NEIGHBORS), long=RandomCrop(0.5))
        view = layer(ragged([[3, 4], [5, 6, 7, 8]]), training=True)
        assert view.row_lengths().numpy().tolist() == [4, 2]

    def test_a_negative_threshold(self):
        with pytest.raises(ValueError, match="threshold must be an integer"):
            ByLength(-1, short=RandomCrop(0.5), long=RandomCrop(0.5))


class TestTwoViews:
    def test_views_are_independent(self):
        views = TwoViews(RandomCrop(0.6))
        inputs = tf.tile(padded([list(range(3, 13))]), [20_000, 1])
        starts = [view.numpy()[:, 0] - 3 for view in views(inputs, training=True)]
        table = np.histogram2d(*starts, bins=5)[0]
        assert stats.chi2_contingency(table).pvalue > 0.001

    def test_the_share_of_twins_is_a_metric(self):
        rows = [[3, 4, 5, 6]] * 300 + [[7], []]
        views = TwoViews(RandomReorder(0.5), seed=1)
        first, second = views(padded(rows), training=True)
        same = (first.numpy() == second.numpy()).all(axis=1)
        # Of the empty sequence no views can differ: it does not count.
        assert float(views.identical_views.result()) == pytest.approx(same[:-1].mean())
        assert 0 < same[:300].mean() < 1
        views(padded(rows), training=True, seed=SEED)
        views(padded(rows), training=False)
        assert views.identical_views.count == 301, "Only calls that draw are counted."

    def test_unknown_numbers_are_alike(self):
        columns = {"item_id": padded([[3, 4]]), "rating": tf.constant([[np.nan, 1.0]])}
        views = TwoViews(RandomMask(0.0))
        views(columns, training=True)
        assert views.identical_views.result() == 1

    def test_twins_are_alike_in_every_column(self):
        columns = {"item_id": padded([[3, 4]]), "genre": padded([[5, 6]])}
        views = TwoViews(RandomMask(0.5, mask_values={"genre": 0}), seed=1)
        seen = set()
        for _ in range(20):
            views.identical_views.reset_state()
            first, second = views(columns, training=True)
            twins = np.array_equal(first["genre"], second["genre"])
            assert bool(views.identical_views.result()) == twins
            seen.add(twins)
        assert seen == {True, False}

    @pytest.mark.parametrize("second", [None, RandomCrop(0.5)])
    def test_the_second_view_can_be_of_a_partner(self, second):
        own = {"item_id": padded([[3, 4, 5, 6], [7, 8]])}
        partners = {"item_id": padded([[13, 14, 15, 16, 17, 18], [19]], "left")}
        views = TwoViews(RandomCrop(0.5), second=second)
        first, other = views(own, training=True, partners=partners)
        assert first["item_id"].shape == (2, 4)
        assert other["item_id"].shape == (2, 6)
        assert set(items(first["item_id"])[0]) < set(range(3, 7))
        assert len(items(first["item_id"])[0]) == 2
        assert set(items(other["item_id"])[0]) < set(range(13, 19))
        assert len(items(other["item_id"])[0]) == 3
        assert other["item_id"][1].numpy().tolist() == [0] * 5 + [19]
        assert views(own, partners=partners) == (own, partners)

    def test_outside_training_both_are_the_input(self):
        inputs = padded([[3, 4, 5]])
        first, second = TwoViews([RandomCrop(0.5)])(inputs, training=False)
        assert first is inputs
        assert second is inputs

    def test_views_can_be_made_differently(self):
        views = TwoViews([RandomMask(0.5)], second=[RandomCrop(0.5)])
        first, second = views(padded([list(range(3, 13))]), training=True)
        assert MASK_ID in first.numpy()
        assert MASK_ID not in second.numpy()
        assert items(second)[0] != items(first)[0]

    @pytest.mark.parametrize("second", [None, [RandomMask(0.5)]])
    def test_config_round_trip(self, second):
        views = TwoViews([RandomCrop(0.5), RandomMask(0.5)], second=second, seed=4)
        same = tf.keras.layers.deserialize(tf.keras.layers.serialize(views))
        assert same.get_config() == views.get_config()
        inputs = padded([list(range(3, 13))])
        for ours, theirs in zip(
            views(inputs, training=True), same(inputs, training=True), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)

    def test_an_aligned_dict_of_ragged_columns(self):
        columns = {
            "item_id": ragged([[3, 4, 5], [6]]),
            "time": ragged([[1, 2, 3], [4]]),
        }
        for view in TwoViews(RandomCrop(0.5))(columns, training=True):
            lengths = [column.row_lengths().numpy() for column in view.values()]
            np.testing.assert_array_equal(*lengths)


class TestCompiledViews:
    INPUTS = padded([list(range(3, 3 + n)) for n in range(17)])

    @pytest.mark.parametrize(
        "make",
        [
            AUGMENTATIONS["random_reorder"],
            AUGMENTATIONS["random_choice"],
            BRINGING_ITEMS_IN["random_insert"],
        ],
    )
    def test_are_those_that_are_not_compiled(self, make):
        plain = TwoViews(make(), seed=7)
        compiled = TwoViews(make(), seed=7, jit_compile=True)
        for _ in range(2):
            expected = plain(self.INPUTS, training=True)
            views = compiled(self.INPUTS, training=True)
            np.testing.assert_array_equal(views, expected)
        assert compiled.identical_views.count == plain.identical_views.count
        twins = float(plain.identical_views.result())
        assert float(compiled.identical_views.result()) == pytest.approx(twins)

    def test_in_a_dataset_with_a_smaller_last_batch(self):
        batches = tf.data.Dataset.from_tensor_slices(self.INPUTS).batch(6).enumerate()

        def views(jit_compile):
            layer = TwoViews(RandomReorder(0.6), jit_compile=jit_compile)
            layer(self.INPUTS)  # Creates its variable, which `map` may not do.
            return batches.map(
                lambda step, ids: layer(ids, training=True, seed=tf.stack([step, 1]))
            ).as_numpy_iterator()

        for ours, theirs in zip(views(True), views(False), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_of_partners(self):
        partners = padded([[13, 14, 15, 16], [19]], "left")
        views = TwoViews(RandomCrop(0.5), jit_compile=True)
        own = padded([[3, 4, 5, 6, 7, 8], [9]])
        first, second = views(own, training=True, partners=partners)
        assert (first.shape, second.shape) == ((2, 6), (2, 4))
        assert second[1].numpy().tolist() == [0, 0, 0, 19]

    @pytest.mark.parametrize(
        "inputs",
        [
            ragged([[3, 4, 5], [6]]),
            {
                "item_id": padded([[3, 4, 5], [6]]),
                "title": tf.constant([["a", "b", "c"], ["d", "", ""]]),
            },
        ],
        ids=["ragged", "strings"],
    )
    def test_what_xla_does_not_know_is_not_compiled(self, inputs):
        views = TwoViews(RandomCrop(0.5), jit_compile=True)
        expected = TwoViews(RandomCrop(0.5))(inputs, training=True, seed=SEED)
        same = views(inputs, training=True, seed=SEED)
        tf.nest.map_structure(
            lambda one, other: np.testing.assert_array_equal(
                one.numpy().tolist(), other.numpy().tolist()
            ),
            tf.nest.flatten(same, expand_composites=True),
            tf.nest.flatten(expected, expand_composites=True),
        )

    def test_after_saving(self, tmp_path):
        inputs = tf.keras.Input([16], dtype=tf.int32)
        views = TwoViews(RandomReorder(0.5), always_active=True, jit_compile=True)
        model = tf.keras.Model(inputs, views(inputs))
        model.save(tmp_path / "views.keras")
        loaded = tf.keras.models.load_model(tmp_path / "views.keras")
        assert loaded.layers[-1].jit_compile
        np.testing.assert_array_equal(loaded(self.INPUTS), model(self.INPUTS))
        model.export(tmp_path / "exported")
        exported = tf.saved_model.load(tmp_path / "exported")
        first, _ = exported.serve(self.INPUTS)
        assert set(items(first)[3]) == {3, 4, 5}
