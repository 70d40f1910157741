"""Graphs, XLA and datasets give the views that layers give eagerly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.augmentation.every_layer import LAYERS, every_layer
from tests.layers.augmentation.histories import history, times_of
from tfrs_barlow.layers import RandomChoice, RandomCrop, RandomMask, TwoViews


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
    seeds = tf.constant([[step, 7] for step in range(3)], tf.int64)
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
