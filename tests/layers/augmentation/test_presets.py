"""Presets: the views that the papers describe, with their rates."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.layers import TwoViews, preset_views

NEIGHBORS = np.zeros((50, 2), np.int32)
NEIGHBORS[3:48, 0] = np.arange(4, 49)

ITEM_IDS = tf.constant([[3, 4, 5, 0, 0, 0, 0, 0], [3, 4, 5, 6, 7, 8, 9, 10]])
HISTORY = {"item_id": ITEM_IDS, "timestamp": ITEM_IDS * 1000}


def rates(augmentation: tf.keras.layers.Layer) -> dict[str, float]:
    """The layers by name, with their rates, in the order of their configuration."""
    found: dict[str, float] = {}

    def visit(config: Any) -> None:
        if "rate" in config.get("config", {}):
            found[config["class_name"].split(">")[-1]] = config["config"]["rate"]
        for value in config.get("config", {}).values():
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, dict) and "class_name" in child:
                    visit(child)

    visit(tf.keras.layers.serialize(augmentation))
    return found


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("barlow_twins", {"RandomDrop": 0.5}),
        ("cl4srec", {"RandomCrop": 0.6, "RandomMask": 0.3, "RandomReorder": 0.6}),
        (
            "coserec",
            {
                "RandomSubstitute": 0.1,
                "RandomInsert": 0.4,
                "RandomMask": 0.7,
                "RandomCrop": 0.2,
                "RandomReorder": 0.2,
            },
        ),
        (
            "ticoserec",
            {
                "TimeIntervalSubstitute": 0.1,
                "TimeIntervalInsert": 0.5,
                "TimeIntervalMask": 0.5,
                "TimeIntervalCrop": 0.7,
                "TimeIntervalReorder": 0.2,
            },
        ),
    ],
)
def test_rates_of_the_papers(preset: Any, expected: dict[str, float]) -> None:
    views = preset_views(preset, neighbors=NEIGHBORS, seed=1)
    assert isinstance(views, TwoViews)
    assert rates(views) == expected
    for view in views(HISTORY, training=True):
        assert view["item_id"].shape == ITEM_IDS.shape


def test_cl4srec_chooses_two_different_ones() -> None:
    config = preset_views("cl4srec").get_config()["augmentations"]["config"]
    assert config["replacement"] is False


@pytest.mark.parametrize(("preset", "threshold"), [("coserec", 4), ("ticoserec", 12)])
def test_short_sequences_are_neither_cropped_nor_reordered(
    preset: Any, threshold: int
) -> None:
    views = preset_views(preset, neighbors=NEIGHBORS)
    config = views.get_config()["augmentations"]["config"]
    assert config["threshold"] == threshold
    long = tf.keras.layers.deserialize(config["long"])
    short = tf.keras.layers.deserialize(config["short"])
    names = {type(layer).__name__ for layer in long.augmentations}
    names -= {type(layer).__name__ for layer in short.augmentations}
    assert {
        name.removeprefix("Random").removeprefix("TimeInterval") for name in names
    } == {
        "Crop",
        "Reorder",
    }


@pytest.mark.parametrize("preset", ["coserec", "ticoserec"])
def test_items_bring_their_columns_and_times_have_any_name(preset: Any) -> None:
    columns = {
        "item_id": ITEM_IDS,
        "time": ITEM_IDS * 1000,
        "genre": tf.where(ITEM_IDS > 0, ITEM_IDS % 7, 0),
    }
    tables = {"genre": np.arange(50) % 7}
    views = preset_views(
        preset, neighbors=NEIGHBORS, item_tables=tables, time_column="time"
    )
    for _ in range(5):
        for view in views(columns, training=True):
            visible = view["item_id"].numpy() > 2
            np.testing.assert_array_equal(
                view["genre"].numpy()[visible], view["item_id"].numpy()[visible] % 7
            )


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"preset must be one of.*'cl4rec'"):
        preset_views("cl4rec")
    for preset in ("coserec", "ticoserec"):
        with pytest.raises(ValueError, match=f"'{preset}' needs neighbors"):
            preset_views(preset)
