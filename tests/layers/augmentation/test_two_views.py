"""`TwoViews`: two views of one sequence or of partners, compiled and saved."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.layers.augmentation.histories import (
    NEIGHBORS,
    SEED,
    counting,
    items,
    padded,
    ragged,
)
from tfrs_barlow.ids import MASK_ID
from tfrs_barlow.layers import (
    RandomChoice,
    RandomCrop,
    RandomInsert,
    RandomMask,
    RandomReorder,
    SegmentMask,
    TwoViews,
)


def test_views_are_independent() -> None:
    inputs = tf.tile(padded(counting(10)), [20_000, 1])
    views = TwoViews(RandomCrop(0.6))(inputs, training=True)
    table = np.histogram2d(*(view.numpy()[:, 0] - 3 for view in views), bins=5)[0]
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_the_share_of_identical_views_is_a_metric() -> None:
    rows = [[3, 4, 5, 6]] * 300 + [[7], []]
    views = TwoViews(RandomReorder(0.5), seed=1)
    first, second = views(padded(rows), training=True)
    same = (first.numpy() == second.numpy()).all(axis=1)
    # The empty sequence does not count: its views cannot differ.
    assert float(views.identical_views.result()) == pytest.approx(same[:-1].mean())
    assert 0 < same[:300].mean() < 1
    views(padded(rows), training=True, seed=SEED)
    views(padded(rows), training=False)
    assert views.identical_views.count == 301, "Only calls without a seed are counted."


def test_missing_numbers_are_identical() -> None:
    columns = {"item_id": padded([[3, 4]]), "rating": tf.constant([[np.nan, 1.0]])}
    views = TwoViews(RandomMask(0.0))
    views(columns, training=True)
    assert views.identical_views.result() == 1


def test_identical_views_are_equal_in_every_column() -> None:
    columns = {"item_id": padded([[3, 4]]), "genre": padded([[5, 6]])}
    views = TwoViews(RandomMask(0.5, mask_values={"genre": 0}), seed=1)
    seen = set()
    for _ in range(20):
        views.identical_views.reset_state()
        first, second = views(columns, training=True)
        identical = np.array_equal(first["genre"], second["genre"])
        assert bool(views.identical_views.result()) == identical
        seen.add(identical)
    assert seen == {True, False}


@pytest.mark.parametrize("second", [None, RandomCrop(0.5)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_second_view_can_be_of_a_partner(second: Any, jit_compile: bool) -> None:
    own = {"item_id": padded([[3, 4, 5, 6], [7, 8]])}
    partners = {"item_id": padded([[13, 14, 15, 16, 17, 18], [19]], "left")}
    views = TwoViews(RandomCrop(0.5), second=second, jit_compile=jit_compile)
    first, other = views(own, training=True, partners=partners)
    assert first["item_id"].shape == (2, 4)
    assert other["item_id"].shape == (2, 6)
    assert set(items(first)[0]) < set(range(3, 7))
    assert len(items(first)[0]) == 2
    assert set(items(other)[0]) < set(range(13, 19))
    assert len(items(other)[0]) == 3
    assert other["item_id"][1].numpy().tolist() == [0] * 5 + [19]
    assert views(own, partners=partners) == (own, partners)


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
def test_partners_that_do_not_fit_are_refused(
    partners: Any, error: type[Exception], message: str
) -> None:
    inputs = {"item_id": padded([[3, 4, 5], [6, 7]])}
    with pytest.raises(error, match=message):
        TwoViews(RandomCrop(0.5))(inputs, training=True, partners=partners)


def test_outside_training_both_are_the_input() -> None:
    inputs = padded([[3, 4, 5]])
    first, second = TwoViews([RandomCrop(0.5)])(inputs, training=False)
    assert first is inputs
    assert second is inputs


def test_views_can_be_made_differently() -> None:
    views = TwoViews([RandomMask(0.5)], second=[RandomCrop(0.5)])
    first, second = views(padded(counting(10)), training=True)
    assert MASK_ID in first.numpy()
    assert MASK_ID not in second.numpy()
    assert items(second)[0] != items(first)[0]


@pytest.mark.parametrize("second", [None, [RandomMask(0.5)]])
def test_config_round_trip(second: Any) -> None:
    views = TwoViews([RandomCrop(0.5), RandomMask(0.5)], second=second, seed=4)
    same = tf.keras.layers.deserialize(tf.keras.layers.serialize(views))
    assert same.get_config() == views.get_config()
    inputs = padded(counting(10))
    expected = views(inputs, training=True)
    np.testing.assert_array_equal(same(inputs, training=True), expected)


def test_a_dict_of_ragged_columns() -> None:
    columns = {"item_id": ragged([[3, 4, 5], [6]]), "time": ragged([[1, 2, 3], [4]])}
    for view in TwoViews(RandomCrop(0.5))(columns, training=True):
        lengths = [column.row_lengths().numpy() for column in view.values()]
        np.testing.assert_array_equal(*lengths)


def test_in_the_scope_of_a_strategy(tmp_path: pathlib.Path) -> None:
    """There is no replica there: it draws as the first one."""
    ids = padded([[3, 4, 5, 6]])
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        first, _ = TwoViews(RandomCrop(0.5))(ids, training=True)
        inputs = tf.keras.Input([None], dtype=tf.int32)
        crop = RandomCrop(0.5, always_active=True)
        tf.keras.Model(inputs, crop(inputs)).save(tmp_path / "crop.keras")
        view = tf.keras.models.load_model(tmp_path / "crop.keras")(ids)
    assert len(items(first)[0]) == len(items(view)[0]) == 2


class TestCompiledViews:
    INPUTS = padded(counting(*range(17)))

    @pytest.mark.parametrize(
        "layer",
        [
            RandomChoice([RandomCrop(0.6), SegmentMask(0.3)]),
            RandomInsert(0.4, NEIGHBORS),
        ],
    )
    def test_are_those_that_are_not_compiled(self, layer: Any) -> None:
        plain = TwoViews(layer, seed=7)
        compiled = TwoViews(layer, seed=7, jit_compile=True)
        for _ in range(2):
            expected = plain(self.INPUTS, training=True)
            views = compiled(self.INPUTS, training=True)
            np.testing.assert_array_equal(views, expected)
        assert compiled.identical_views.count == plain.identical_views.count
        share = float(plain.identical_views.result())
        assert float(compiled.identical_views.result()) == pytest.approx(share)

    def test_in_a_dataset_with_a_smaller_last_batch(self) -> None:
        batches = tf.data.Dataset.from_tensor_slices(self.INPUTS).batch(9).enumerate()

        def views(jit_compile: bool) -> Any:
            layer = TwoViews(RandomReorder(0.6), jit_compile=jit_compile)
            layer(self.INPUTS)  # Creates its variable, which `map` may not do.
            return batches.map(
                lambda step, ids: layer(ids, training=True, seed=tf.stack([step, 1]))
            ).as_numpy_iterator()

        for ours, theirs in zip(views(True), views(False), strict=True):
            np.testing.assert_array_equal(ours, theirs)

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
    def test_inputs_that_xla_does_not_support_are_not_compiled(
        self, inputs: Any
    ) -> None:
        views = TwoViews(RandomCrop(0.5), jit_compile=True)
        expected = TwoViews(RandomCrop(0.5))(inputs, training=True, seed=SEED)
        same = views(inputs, training=True, seed=SEED)
        tf.nest.map_structure(
            np.testing.assert_array_equal,
            tf.nest.flatten(same, expand_composites=True),
            tf.nest.flatten(expected, expand_composites=True),
        )

    def test_after_saving(self, tmp_path: pathlib.Path) -> None:
        inputs = tf.keras.Input([16], dtype=tf.int32)
        views = TwoViews(RandomCrop(0.5), always_active=True, jit_compile=True)
        model = tf.keras.Model(inputs, views(inputs))
        model.save(tmp_path / "views.keras")
        loaded = tf.keras.models.load_model(tmp_path / "views.keras")
        assert loaded.layers[-1].jit_compile
        expected = model(self.INPUTS)
        np.testing.assert_array_equal(loaded(self.INPUTS), expected)
        model.export(tmp_path / "exported")
        exported = tf.saved_model.load(tmp_path / "exported")
        for ours, theirs in zip(
            exported.serve(self.INPUTS), model(self.INPUTS), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
