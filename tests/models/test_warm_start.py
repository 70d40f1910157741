"""Encoders that start from a checkpoint of a pretraining run."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.models import (
    BarlowTwinsPretraining,
    DualEncoder,
    JointModel,
    fit_resumable,
    warm_start,
)

FEATURES = {
    "history": tf.constant([[3, 4, 5], [7, 8, 0]]),
    "label": tf.constant([6, 9]),
}


def encoder(**settings):
    return tfrsb.layers.ConvolutionEncoder(
        20, embedding_dim=8, output_dim=4, filters=8, **settings
    )


def models():
    query_tower = encoder()
    pretraining = BarlowTwinsPretraining(
        query_tower, projector=tfrsb.layers.Projector([8])
    )
    dual = DualEncoder(query_tower, tf.keras.layers.Embedding(20, 4))
    return pretraining, dual, JointModel(dual, pretraining)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A backup and files of every model, and what its encoder makes of the features."""
    folder = tmp_path_factory.mktemp("saved")
    pretraining, dual, joint = models()
    joint.compile(tf.keras.optimizers.SGD(0.1), run_eagerly=True)
    batches = tf.data.Dataset.from_tensors(FEATURES).repeat()
    joint.fit(batches, steps_per_epoch=1, verbose=0)
    pretraining.compile(tf.keras.optimizers.Adam(), run_eagerly=True)
    fit_resumable(
        pretraining,
        lambda first_step: batches,
        steps=1,
        steps_per_epoch=1,
        backup_dir=folder / "backup",
        verbose=0,
    )
    for model, name in ((pretraining, "pretraining"), (dual, "dual"), (joint, "joint")):
        model.save_weights(folder / f"{name}.weights.h5")
        model.save_weights(folder / name)
    pretraining.save(folder / "pretraining.keras")
    return folder, pretraining(FEATURES).numpy()


@pytest.mark.parametrize(
    "name",
    [
        "backup",
        "backup/chief",
        "pretraining.keras",
        "pretraining.weights.h5",
        "pretraining",
        "dual.weights.h5",
        "dual",
        "joint.weights.h5",
        "joint",
    ],
)
def test_the_encoder_is_the_one_that_was_saved(saved: Any, name: str) -> None:
    folder, embeddings = saved
    started = encoder()
    assert warm_start(started, folder / name) is started
    np.testing.assert_array_equal(started(FEATURES["history"]), embeddings)


@pytest.mark.parametrize(
    "name", ["backup", "pretraining", "pretraining.weights.h5", "pretraining.keras"]
)
@pytest.mark.parametrize(
    ("settings", "attribute"),
    [
        ({}, "tower"),
        ({"num_layers": 1}, "query_tower"),
        ({"num_layers": 3}, "query_tower"),
        ({"kernel_size": 5}, "query_tower"),
    ],
)
def test_what_does_not_fit_changes_nothing(
    saved: Any, name: str, settings: dict[str, Any], attribute: str
) -> None:
    other = encoder(**settings)
    other.build([None, None])
    before = other.get_weights()
    with pytest.raises(ValueError, match=f"attribute {attribute!r} of its model"):
        warm_start(other, saved[0] / name, attribute=attribute)
    for weight, value in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize("name", ["pretraining", "pretraining.weights.h5"])
@pytest.mark.parametrize("kind", ["Convolution", "GRU", "ItemPooling", "Transformer"])
def test_random_states_of_an_encoder_are_not_its_weights(
    tmp_path: pathlib.Path, kind: str, name: str
) -> None:
    def new():
        make = getattr(tfrsb.layers, f"{kind}Encoder")
        return make(20, embedding_dim=8, output_dim=4, dropout=0.5)

    model = BarlowTwinsPretraining(new(), projector=tfrsb.layers.Projector([8]))
    model.compile(tf.keras.optimizers.Adam(), run_eagerly=True)
    model.fit(tf.data.Dataset.from_tensors(FEATURES), verbose=0)
    model.save_weights(tmp_path / name)
    started = warm_start(new(), tmp_path / name)
    np.testing.assert_array_equal(
        started(FEATURES["history"]), model(FEATURES["history"])
    )


def test_nothing_there() -> None:
    with pytest.raises(FileNotFoundError, match="but nowhere is not"):
        warm_start(encoder(), "nowhere")
