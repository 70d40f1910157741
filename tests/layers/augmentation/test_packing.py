"""Inputs of all forms are understood, and bad ones are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from tests.layers.augmentation.histories import padded, ragged
from tfrs_barlow.layers import RandomCrop, RandomReorder, TwoViews

IDS = tf.ones([2, 3], tf.int32)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (tf.ones([2, 3]), TypeError, "must be integers"),
        (tf.constant([["Alien"]]), TypeError, "must be integers.*vocabulary"),
        (tf.ones([2, 3, 4], tf.int32), TypeError, r"\[batch, length\].*\(2, 3, 4\)"),
        (tf.ones([3], tf.int32), ValueError, r"\[batch, length\].*\(3,\)"),
        ({"movie": IDS}, ValueError, "item_id.*movie"),
        ({"item_id": IDS, "user": tf.ones([2])}, ValueError, "'user'"),
        (
            {"item_id": IDS, "time": ragged([[1], [2]])},
            TypeError,
            "all dense or all ragged",
        ),
        (
            {"item_id": IDS, "time": tf.ones([2, 2])},
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
def test_bad_inputs_are_named(
    inputs: Any, error: type[Exception], message: str, training: bool
) -> None:
    with pytest.raises(error, match=message):
        RandomCrop(0.5)(inputs, training=training)


def test_ragged_columns_of_unknown_shapes_need_the_same_number_of_rows() -> None:
    spec = tf.RaggedTensorSpec([None, None], tf.int32)
    crop = RandomCrop(0.5)
    crop.build(None)

    @tf.function(input_signature=[spec, spec])
    def cropped(items: tf.RaggedTensor, times: tf.RaggedTensor) -> Any:
        return crop({"item_id": items, "time": times}, training=True)

    with pytest.raises(tf.errors.InvalidArgumentError, match="another number of rows"):
        cropped(ragged([[3], [4, 5]]), ragged([[1]]))


def test_columns_of_unknown_widths_must_share_their_positions() -> None:
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


@pytest.mark.parametrize("seed", [7, [1, 2, 3], [0.5, 1.0]])
def test_bad_seeds_of_a_call_are_named(seed: Any) -> None:
    for layer in (RandomCrop(0.5), TwoViews(RandomCrop(0.5))):
        with pytest.raises(ValueError, match="seed must be two integers"):
            layer(padded([[3, 4]]), training=True, seed=seed)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"padding_side": "both"}, ValueError, "padding_side must be one of 'auto'"),
        ({"item_column": 3}, TypeError, "item_column must be a string"),
        ({"always_active": "no"}, TypeError, "always_active must be True or False"),
        ({"seed": 1.5}, TypeError, r"seed must be an integer .* it is 1\.5"),
        ({"seed": 2**63}, ValueError, "seed must be an integer of at least"),
    ],
)
@pytest.mark.parametrize("layer", [RandomCrop, TwoViews])
def test_bad_settings_are_named(
    layer: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    first = 0.5 if layer is RandomCrop else RandomCrop(0.5)
    with pytest.raises(error, match=message):
        layer(first, **settings)
