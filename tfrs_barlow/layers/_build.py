"""Builds a layer inside another one."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def build_layer(layer: tf.keras.layers.Layer, input_shape: Any) -> None:
    """Builds `layer` under its name, as its first call would.

    A checkpoint restores only weights that exist, so a layer creates all of its weights
    in `build`, none in its first call.
    """
    with tf.name_scope(layer.name):
        layer.build(tf.TensorShape(input_shape))
