"""A saved model makes the views that its layers make."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf

from tests.layers.augmentation.every_layer import LAYERS, equal_gaps


def test_a_saved_model_draws_as_its_layers_do(tmp_path: pathlib.Path) -> None:
    """One layer of each kind: `test_contract` tests all configurations."""
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
