"""The picture: right colors, in the event file; training stays the same."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.callbacks import CrossCorrelationImage
from tfrs_barlow.callbacks.cross_correlation_image import correlation_image

HISTORIES = tf.random.stateless_uniform([64, 10], [1, 2], 3, 30, tf.int32)


def make_model():
    tf.keras.utils.set_random_seed(1)
    model = tfrsb.models.BarlowTwinsPretraining(
        tfrsb.layers.ItemPoolingEncoder(30, output_dim=8, pooling="mean"),
        projector=tfrsb.layers.Projector([16, 16]),
    )
    model.compile(tf.keras.optimizers.Adam(0.01))
    return model


def fit(model, callbacks, epochs=4):
    batches = tf.data.Dataset.from_tensors(HISTORIES).repeat(3)
    model.fit(batches, epochs=epochs, callbacks=callbacks, verbose=0)


def images(log_dir):
    """Returns the pictures in an event file, by step."""
    (file,) = log_dir.glob("events*")
    found = {}
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.tag == "cross_correlation"
            found[event.step] = tf.io.decode_png(value.tensor.string_val[2]).numpy()
    return found


def test_colors() -> None:
    image = correlation_image(tf.constant([[1.0, 0.0, -1.0, 7.0]]), pixels=2)
    assert image.shape == (2, 8, 3)
    red, white, blue = [1, 0, 0], [1, 1, 1], [0, 0, 1]
    np.testing.assert_array_equal(image[0, ::2], [red, white, blue, red])


def test_writes_a_picture_every_few_epochs(tmp_path: pathlib.Path) -> None:
    fit(make_model(), [CrossCorrelationImage(tmp_path, HISTORIES, every=2)])
    found = images(tmp_path)
    assert sorted(found) == [1, 3]
    assert found[3].shape == (512, 512, 3)
    # The diagonal of a good matrix is red: little blue is left.
    cells = found[3][16::32, 16::32].astype(int)
    diagonal = np.eye(16, dtype=bool)
    assert cells[diagonal][:, 2].mean() < 0.7 * cells[~diagonal][:, 2].mean()


def test_does_not_disturb_training(tmp_path: pathlib.Path) -> None:
    plain = make_model()
    fit(plain, [])
    watched = make_model()
    fit(watched, [CrossCorrelationImage(tmp_path, HISTORIES)])
    for ours, expected in zip(watched.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_any_model_with_a_given_function(tmp_path: pathlib.Path) -> None:
    views = tf.random.normal([32, 4])
    picture = CrossCorrelationImage(
        tmp_path, views, embed_views=lambda batch: (batch, batch), max_features=3
    )
    fit(make_model(), [picture], epochs=1)
    assert images(tmp_path)[0].shape == (513, 513, 3)


@pytest.mark.parametrize("argument", ["every", "max_features"])
def test_bad_arguments_are_named(argument: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be .* at least 1"):
        CrossCorrelationImage(tmp_path, HISTORIES, **{argument: 0})


def test_the_pretraining_in_a_joint_model_is_looked_at(tmp_path: pathlib.Path) -> None:
    barlow_twins = make_model()
    dual_encoder = tfrsb.models.DualEncoder(
        barlow_twins.query_tower, tf.keras.layers.Embedding(30, 8)
    )
    joint = tfrsb.models.JointModel(dual_encoder, barlow_twins)
    joint.compile(tf.keras.optimizers.Adam(0.01))
    features = {"history": HISTORIES, "label": HISTORIES[:, 0]}
    picture = CrossCorrelationImage(tmp_path, features)
    joint.fit(tf.data.Dataset.from_tensors(features), callbacks=[picture], verbose=0)
    assert list(images(tmp_path)) == [0]


def test_a_model_without_views_is_refused_before_it_trains(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(ValueError, match="embed_views must be given, since Sequential"):
        CrossCorrelationImage(tmp_path, HISTORIES).set_model(tf.keras.Sequential())
