"""Models of Keras 3 next to this package, in one process: docs/keras3.md."""

import pathlib
import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb

keras = pytest.importorskip("keras", minversion="3")
pytest.importorskip("keras_rs")

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "keras3.md").read_text()
VOCABULARY = tfrsb.data.Vocabulary([f"film {number}" for number in range(20)])


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """The two classes that the page defines."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[:2]:
        exec(block, names)
    return names


def batches() -> tf.data.Dataset:
    ids = np.random.default_rng(0).integers(3, VOCABULARY.size, [64, 7]).astype("int32")
    features = {"history": ids[:, :-1], "label": ids[:, -1]}
    return tf.data.Dataset.from_tensor_slices(features).batch(32)


def tower() -> Any:
    """Returns a tower that differs between training and inference."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input([None], dtype="int32"),
            keras.layers.Embedding(VOCABULARY.size, 4, mask_zero=True),
            keras.layers.GRU(4),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
        ]
    )


def test_both_keras_are_there() -> None:
    assert keras.__version__.startswith("3.")
    assert not issubclass(tf.keras.Model, keras.Model)


def test_gradients_reach_the_weights_as_those_of_keras_2_do() -> None:
    inputs = tf.random.stateless_normal([2, 16, 5], [0, 0])
    gradients = []
    for dense in (keras.layers.Dense(6), tf.keras.layers.Dense(6)):
        dense.build([None, 5])
        dense.kernel.assign(tf.random.stateless_normal([5, 6], [1, 1]))

        @tf.function(jit_compile=True)  # As `fit` of Keras 3 does.
        def gradient(dense=dense):
            with tf.GradientTape() as tape:
                loss = tfrsb.losses.barlow_twins_loss(*map(dense, tf.unstack(inputs)))
            # A variable of Keras 3 wraps one of TensorFlow.
            kernel = getattr(dense.kernel, "_value", dense.kernel)
            return tape.gradient(loss, kernel)

        gradients.append(gradient().numpy())
    assert np.abs(gradients[0]).max() > 0.1
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_without_weight_the_towers_train_as_without_barlow_twins(
    models: dict[str, Any],
) -> None:
    weights = []
    for make in (
        lambda: models["Retrieval"](VOCABULARY.size),
        lambda: models["RetrievalWithBarlowTwins"](VOCABULARY.size, 0.0),
        lambda: models["RetrievalWithBarlowTwins"](VOCABULARY.size, 0.1),
    ):
        keras.utils.set_random_seed(0)
        model = make()
        model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
        model.fit(batches(), epochs=2, shuffle=False, verbose=0)
        towers = (model.query_tower, model.candidate_tower)
        weights.append([w.numpy() for tower in towers for w in tower.weights])
    plain, without, with_barlow_twins = weights
    for one, other in zip(plain, without, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.allclose(plain[0], with_barlow_twins[0], atol=1e-4)


@pytest.mark.slow
def test_an_export_embeds_as_the_tower_in_inference(tmp_path: pathlib.Path) -> None:
    model = tower()
    version = tfrsb.serving.export(model, tmp_path / "users", vocabulary=VOCABULARY)
    history = [["film 3", "film 9", "film 1"]]
    exported = tfrsb.serving.load(version).embed(tf.constant(history))["embedding"]
    expected = model(tf.constant([VOCABULARY.encode(history[0])]), training=False)
    np.testing.assert_allclose(exported, expected, atol=1e-6)
    assert np.abs(exported).max() > 1e-3


@pytest.mark.slow
def test_an_encoder_of_ours_is_a_layer_of_keras_3(tmp_path: pathlib.Path) -> None:
    encoder = tfrsb.layers.ItemPoolingEncoder(
        VOCABULARY.size, embedding_dim=4, output_dim=3, pooling="mean"
    )
    version = tfrsb.serving.export(encoder, tmp_path / "users", vocabulary=VOCABULARY)
    layer = keras.layers.TFSMLayer(str(version), call_endpoint="embed")
    history = ["film 3", "film 9", "film 1"]
    expected = encoder(tf.constant([VOCABULARY.encode(history)]))
    embedding = layer(tf.constant([history]))["embedding"]
    np.testing.assert_allclose(embedding, expected, atol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant([history]))["embedding"])
    assert len(layer.trainable_variables) == 3
    gradients = tape.gradient(loss, [w.value for w in layer.trainable_variables])
    assert all(np.abs(tf.convert_to_tensor(g)).max() > 0 for g in gradients)
    keras.optimizers.SGD(0.1).apply_gradients(
        zip(gradients, layer.trainable_variables, strict=True)
    )
    trained = layer(tf.constant([history]))["embedding"]
    assert float(tf.reduce_sum(trained)) < float(loss)


@pytest.mark.slow
def test_the_probe_watches_a_training_of_keras_3() -> None:
    rng = np.random.default_rng(0)
    histories = rng.integers(3, VOCABULARY.size, [30, 5])
    sequences = tfrsb.data.UserSequences.from_lists(dict(enumerate(histories)))
    task = tfrsb.evaluation.DownstreamTask(sequences, np.arange(30) % 2)
    encoder = tower()
    model = keras.Sequential([encoder, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    probe = tfrsb.callbacks.OnlineProbe(
        task.select(np.arange(20)),
        task.select(np.arange(20, 30)),
        length=5,
        encoder=encoder,
    )
    inputs = sequences.to_dense(5)
    logs = model.fit(inputs, np.ones([30, 1]), callbacks=[probe], verbose=0).history
    assert 0 <= logs["probe_accuracy"][-1] <= 1
