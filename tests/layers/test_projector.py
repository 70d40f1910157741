"""The projector."""

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrs_barlow.layers.projector import Projector


def test_layers_are_those_of_the_paper() -> None:
    projector = Projector([5, 6, 7])
    projector.build([None, 4])
    shapes = {weight.name: tuple(weight.shape) for weight in projector.weights}
    assert shapes == {
        "dense_0/kernel:0": (4, 5),
        "norm_0/gamma:0": (5,),
        "norm_0/beta:0": (5,),
        "norm_0/moving_mean:0": (5,),
        "norm_0/moving_variance:0": (5,),
        "dense_1/kernel:0": (5, 6),
        "norm_1/gamma:0": (6,),
        "norm_1/beta:0": (6,),
        "norm_1/moving_mean:0": (6,),
        "norm_1/moving_variance:0": (6,),
        "dense_2/kernel:0": (6, 7),
    }


def test_one_layer_is_a_linear_map() -> None:
    projector = Projector([2])
    inputs = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    projector(inputs)
    projector.set_weights([np.array([[1.0, 10.0], [0.0, 1.0]])])
    np.testing.assert_allclose(
        projector(inputs, training=True), [[1.0, 12.0], [3.0, 34.0]]
    )


def test_hidden_layer_normalizes_then_activates() -> None:
    projector = Projector([1, 1])
    inputs = tf.constant([[-100.0], [0.0], [100.0]])
    projector(inputs)
    for weight in projector.trainable_weights:
        if "kernel" in weight.name:
            weight.assign([[1.0]])
    # Standardized: -sqrt(3/2), 0, sqrt(3/2). ReLU clips the first.
    np.testing.assert_allclose(
        projector(inputs, training=True), [[0], [0], [1.5**0.5]], rtol=1e-5
    )


def test_small_embeddings_are_standardized_too() -> None:
    """An epsilon of 1e-3, Keras' default, would leave them ten times too small."""
    projector = Projector([64, 64], activation="linear")
    hidden = tf.keras.Model(
        inputs := tf.keras.Input([32]),
        projector._norms[0](projector._dense[0](inputs), training=True),
    )
    small = tf.random.normal([512, 32], stddev=0.01)
    np.testing.assert_allclose(np.std(hidden(small), axis=0), 1, atol=0.15)


def test_statistics_are_those_of_the_global_batch() -> None:
    assert all(norm.synchronized for norm in Projector([4, 4, 4])._norms)


def test_inference_uses_moving_statistics() -> None:
    projector = Projector([8, 8])
    inputs = tf.random.normal([16, 4])
    fresh = projector(inputs, training=False)
    single = projector(inputs[:1], training=False)
    np.testing.assert_allclose(fresh[:1], single, atol=1e-6)
    projector(inputs, training=True)
    assert not np.allclose(fresh, projector(inputs, training=False))


def test_survives_saving(tmp_path: pathlib.Path) -> None:
    inputs = tf.random.normal([16, 4])
    model = tf.keras.Sequential([Projector([8, 8], activation="gelu")])
    model(inputs, training=True)
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(inputs), model(inputs), atol=1e-6)


def test_config_makes_an_equal_projector() -> None:
    projector = Projector((8, 4), activation="gelu", name="head", dtype="float64")
    twin = Projector.from_config(projector.get_config())
    assert twin.get_config() == projector.get_config()
    assert twin.name == "head"


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_computes_in_the_dtype_of_its_policy(policy: str) -> None:
    projector = Projector([8, 8], dtype=policy)
    outputs = projector(tf.random.normal([16, 4]), training=True)
    assert outputs.dtype == projector.compute_dtype
    assert np.isfinite(outputs).all()


def test_compiles_to_xla_with_unknown_batch_size() -> None:
    projector = Projector([8, 8])
    inputs = tf.random.normal([16, 4])
    expected = projector(inputs)
    compiled = tf.function(
        projector, jit_compile=True, input_signature=[tf.TensorSpec([None, 4])]
    )
    np.testing.assert_allclose(compiled(inputs), expected, atol=1e-6)


def test_output_shape_is_known_in_advance() -> None:
    assert Projector([8, 4]).compute_output_shape([None, 3]).as_list() == [None, 4]
    assert Projector([8, 4])(tf.keras.Input([3])).shape.as_list() == [None, 4]


@pytest.mark.parametrize(
    ("units", "error"),
    [
        ((), ValueError),
        ((8, 0), ValueError),
        ((8, -1), ValueError),
        ((8, 2.5), TypeError),
        (("8",), TypeError),
        ("8", TypeError),
        (8, TypeError),
    ],
)
def test_rejects_widths_that_are_not_positive_integers(
    units: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="units must"):
        Projector(units)


def test_rejects_an_unknown_activation() -> None:
    with pytest.raises(ValueError, match="nonesuch"):
        Projector([8], activation="nonesuch")


def test_rejects_sequences() -> None:
    with pytest.raises(ValueError, match="expected ndim=2, found ndim=3"):
        Projector([8])(tf.zeros([2, 3, 4]))
