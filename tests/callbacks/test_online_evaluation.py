"""The probe and the vote: right metrics, in every log; training stays the same."""

import csv
import pathlib
import random
import types

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.callbacks import OnlineKNN, OnlineProbe
from tfrs_barlow.data import UserSequences
from tfrs_barlow.evaluation import (
    DownstreamTask,
    LabeledEmbeddings,
    embed_users,
    linear_probe,
)

LENGTH = 6
BOTH = pytest.mark.parametrize("callback", [OnlineProbe, OnlineKNN])


def users(count, seed):
    """Users of two kinds: of the items 3 to 7, or of 8 to 12."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(count) % 2
    items = 3 + 5 * kinds[:, np.newaxis] + rng.integers(0, 5, [count, LENGTH])
    return DownstreamTask(UserSequences.from_lists(dict(enumerate(items))), kinds)


TRAIN, VALIDATION = users(40, 0), users(20, 1)


class Aging(tf.keras.layers.Layer):
    """Distinguishes users at one age only."""

    def __init__(self, best_age):
        super().__init__()
        self.best_age = best_age
        self.age = self.add_weight("age", [], initializer="zeros")

    def call(self, ids, training=None):
        kinds = tf.one_hot(tf.cast(ids[:, 0] > 7, tf.int32), 2)
        if self.age != self.best_age:  # Of a tensor, as AutoGraph allows.
            kinds = tf.ones_like(kinds)
        return kinds


class AgingModel(tf.keras.Model):
    """Grows older by one in every epoch of one step."""

    def __init__(self, best_age):
        super().__init__()
        self.query_tower = Aging(best_age)

    def train_step(self, data):
        self.query_tower.age.assign_add(1)
        return {"loss": self.query_tower.age}


def fit_aging(callbacks, best_age=2, epochs=10):
    model = AgingModel(best_age)
    model.compile()
    batches = tf.data.Dataset.from_tensors([0.0])
    return model, model.fit(batches, epochs=epochs, callbacks=callbacks, verbose=0)


def evaluate(callback, encoder, epoch=0, epochs=1):
    """Returns what the callback logs for an encoder, without a training."""
    callback.set_params({"epochs": epochs})
    callback.set_model(types.SimpleNamespace(query_tower=encoder))
    logs = {"loss": 0.5}
    callback.on_epoch_end(epoch, logs)
    assert logs.pop("loss") == 0.5
    return logs


def test_is_the_linear_probe_of_the_encoder() -> None:
    encoder = tfrsb.layers.ItemPoolingEncoder(
        13, embedding_dim=4, output_dim=3, dropout=0.5
    )
    encoder(tf.constant([[3]]))
    encoder.item_embedding.embeddings.assign(tf.random.normal([13, 4]) / 100)
    rng = np.random.default_rng(0)
    # Three classes, which the items predict in part.
    train, validation = (
        DownstreamTask(
            part.histories, part.labels + rng.integers(0, 2, 40)[: len(part[1])]
        )
        for part in (TRAIN, VALIDATION)
    )
    expected = linear_probe(
        *[
            LabeledEmbeddings(embed_users(encoder, part[0], length=4), part.labels)
            for part in (train, validation, validation)
        ],
        penalties=(0.1, 10.0),
    )
    probe = OnlineProbe(train, validation, length=4, penalties=(0.1, 10.0), name="kind")
    logs = evaluate(probe, encoder)
    assert 0.3 < expected.accuracy < 0.9
    assert logs == {
        "kind_accuracy": pytest.approx(expected.accuracy, abs=1e-6),
        "kind_macro_f1": pytest.approx(expected.macro_f1, abs=1e-6),
    }


@pytest.mark.parametrize(
    ("neighbors", "temperature", "accuracy"),
    [
        (1, 1.0, 0.0),  # The nearest one is wrong,
        (3, 1.0, 1.0),  # the next two are right, and count almost as much:
        (3, 0.1, 0.0),  # not here: exp(1 / 0.1) > 2 exp(0.9 / 0.1).
        (99, 1.0, 1.0),  # No more vote than there are.
        (3, 1e-9, 0.0),  # No overflow.
    ],
)
def test_neighbors_vote_by_their_cosines(
    neighbors: int, temperature: float, accuracy: float
) -> None:
    angles = np.arccos([1.0, 0.9, 0.9, 0.1])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    lengths = np.array([[1e-3], [1.0], [50.0], [1e3]])  # They do not matter.
    train = LabeledEmbeddings(lengths * directions, np.array([0, 1, 1, 2]))
    validation = LabeledEmbeddings(np.array([[7.0, 0.0]]), np.array([1]))
    knn = OnlineKNN(
        TRAIN,
        VALIDATION,
        length=LENGTH,
        neighbors=neighbors,
        temperature=temperature,
    )
    assert knn.evaluate(train, validation)["accuracy"] == accuracy


@BOTH
def test_finds_what_the_encoder_knows(
    callback: type[OnlineProbe] | type[OnlineKNN],
) -> None:
    good, blind = Aging(best_age=0), Aging(best_age=1)
    for encoder, accuracy in ((good, 1.0), (blind, 0.5)):
        logs = evaluate(callback(TRAIN, VALIDATION, length=LENGTH), encoder)
        assert next(iter(logs.values())) == accuracy


@BOTH
def test_users_without_a_label_are_left_out(
    callback: type[OnlineProbe] | type[OnlineKNN],
) -> None:
    # Those of one kind in the wrong class, were they not left out.
    labels = np.where(np.arange(40) < 20, TRAIN.labels, -1)
    train = DownstreamTask(TRAIN.histories, labels)
    logs = evaluate(callback(train, VALIDATION, length=LENGTH), Aging(best_age=0))
    assert set(logs.values()) == {1.0}


def test_evaluates_every_few_epochs_and_after_the_last() -> None:
    probe = OnlineProbe(TRAIN, VALIDATION, length=LENGTH, every=2)
    _, history = fit_aging([probe], epochs=5)
    nan = np.nan
    np.testing.assert_array_equal(
        history.history["probe_accuracy"], [nan, 1.0, nan, 0.5, 0.5]
    )
    np.testing.assert_array_equal(
        np.isnan(history.history["probe_macro_f1"]), [True, False, True, False, False]
    )


@pytest.mark.parametrize(
    ("every", "patience", "epochs"), [(1, 2, 4), (2, 2, 4), (2, 3, 5)]
)
def test_early_stopping_returns_to_the_best_epoch(
    every: int, patience: int, epochs: int, caplog: pytest.LogCaptureFixture
) -> None:
    probe = OnlineProbe(TRAIN, VALIDATION, length=LENGTH, every=every)
    stop = tf.keras.callbacks.EarlyStopping(
        monitor="probe_accuracy", patience=patience, restore_best_weights=True
    )
    model, history = fit_aging([probe, stop])
    assert len(history.epoch) == epochs
    assert float(model.query_tower.age) == 2
    assert "not available" not in caplog.text


def test_early_stopping_before_the_probe_warns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    probe = OnlineProbe(TRAIN, VALIDATION, length=LENGTH)
    stop = tf.keras.callbacks.EarlyStopping(monitor="probe_accuracy", patience=1)
    _, history = fit_aging([stop, probe], epochs=3)
    assert len(history.epoch) == 3
    assert "`probe_accuracy` which is not available" in caplog.text


def scalars(folder, tag):
    """The values of a scalar in the event files of a folder, by step."""
    found = {}
    for file in folder.rglob("events*"):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.tag == tag:
                    found[event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_every_log_has_the_metrics(tmp_path: pathlib.Path) -> None:
    best = tmp_path / "best-{epoch}-{probe_accuracy:.2f}"
    fit_aging(
        [
            OnlineProbe(TRAIN, VALIDATION, length=LENGTH, every=2),
            OnlineKNN(TRAIN, VALIDATION, length=LENGTH),
            tf.keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
            tf.keras.callbacks.TensorBoard(str(tmp_path / "events"), write_graph=False),
            tf.keras.callbacks.ModelCheckpoint(
                str(best),
                monitor="probe_accuracy",
                save_best_only=True,
                save_weights_only=True,
            ),
        ],
        epochs=4,
    )
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["probe_accuracy"] for row in rows] == ["nan", "1.0", "nan", "0.5"]
    assert [row["knn_accuracy"] for row in rows] == ["0.5", "1.0", "0.5", "0.5"]
    shown = scalars(tmp_path / "events", "epoch_probe_accuracy")
    np.testing.assert_equal(shown, {0: np.nan, 1: 1.0, 2: np.nan, 3: 0.5})
    assert [file.name for file in tmp_path.glob("best*.index")] == ["best-2-1.00.index"]


class Restless(tf.keras.layers.Layer):
    """Draws and counts in every call, in training or not."""

    def __init__(self):
        super().__init__()
        self.calls = self.add_weight("calls", [], initializer="zeros", trainable=False)

    def call(self, inputs):
        self.calls.assign_add(1)
        return inputs + 0.1 * tf.random.normal(tf.shape(inputs))


def train(make_callbacks):
    """Trains an encoder with all that a call might change; returns all that has."""
    tf.keras.utils.set_random_seed(1)
    encoder = tf.keras.Sequential(
        [
            tf.keras.layers.Embedding(13, 4),
            tf.keras.layers.GlobalAveragePooling1D(),
            Restless(),
            tf.keras.layers.BatchNormalization(),
            tf.keras.layers.Dropout(0.2),
        ]
    )
    model = tf.keras.Sequential([encoder, tf.keras.layers.Dense(2)])
    model.compile(
        tf.keras.optimizers.Adam(0.01),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    rows = (TRAIN.histories.to_dense(LENGTH), TRAIN.labels)
    batches = tf.data.Dataset.from_tensor_slices(rows).shuffle(40).batch(16)
    callbacks = make_callbacks(encoder)
    logs = model.fit(batches, epochs=4, callbacks=callbacks, verbose=0).history
    return logs, {
        "weights": model.get_weights(),
        "optimizer": [variable.numpy() for variable in model.optimizer.variables],
        "losses and metrics": (logs["loss"], logs["accuracy"]),
        "Python": random.getstate(),
        "NumPy": np.random.get_state(),
        "TensorFlow": tf.random.uniform([3]).numpy(),
    }


def test_training_is_the_same_to_the_last_bit() -> None:
    def watch(encoder):
        return [
            callback(TRAIN, VALIDATION, length=LENGTH, encoder=encoder, every=every)
            for callback, every in ((OnlineProbe, 1), (OnlineKNN, 2))
        ]

    _, plain = train(lambda encoder: [])
    logs, watched = train(watch)
    assert np.isfinite(logs["probe_accuracy"]).all()
    np.testing.assert_equal(watched, plain)


@BOTH
def test_a_diverged_encoder_is_named(
    callback: type[OnlineProbe] | type[OnlineKNN],
) -> None:
    encoder = tfrsb.layers.ItemPoolingEncoder(13, embedding_dim=4, output_dim=3)
    encoder(tf.constant([[3]]))
    encoder.item_embedding.embeddings.assign(tf.fill([13, 4], np.nan))
    with pytest.raises(ValueError, match=r"must be finite.*training has diverged"):
        evaluate(callback(TRAIN, VALIDATION, length=LENGTH), encoder)


@BOTH
@pytest.mark.parametrize("argument", ["length", "every", "batch_size"])
def test_bad_numbers_are_named(
    callback: type[OnlineProbe] | type[OnlineKNN], argument: str
) -> None:
    with pytest.raises(ValueError, match=f"{argument} must .* at least 1, but it is 0"):
        callback(TRAIN, VALIDATION, **{"length": LENGTH, argument: 0})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros([20, 3], np.int64), r"validation must be one .* \(20, 3\)"),
        (np.zeros(19, np.int64), r"one integer class for each of the 20 .* \(19,\)"),
        (np.zeros(20), "but they are float64"),
        (np.full(20, -1), "validation must have a user with a label"),
    ],
    ids=["multi-label", "too few", "float", "unlabeled"],
)
def test_bad_labels_are_named(labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnlineProbe(TRAIN, DownstreamTask(VALIDATION.histories, labels), length=LENGTH)


def test_other_bad_arguments_are_named() -> None:
    for bad, error in (((), ValueError), ((0.1, 0.0), ValueError), (0.1, TypeError)):
        with pytest.raises(error, match="penalties must"):
            OnlineProbe(TRAIN, VALIDATION, length=LENGTH, penalties=bad)
    with pytest.raises(ValueError, match=r"neighbors must be .* at least 1"):
        OnlineKNN(TRAIN, VALIDATION, length=LENGTH, neighbors=0)
    with pytest.raises(ValueError, match=r"temperature must be .* above 0"):
        OnlineKNN(TRAIN, VALIDATION, length=LENGTH, temperature=0.0)


def test_two_of_one_name_are_refused() -> None:
    twice = [OnlineProbe(TRAIN, VALIDATION, length=LENGTH) for _ in range(2)]
    with pytest.raises(ValueError, match="'probe_accuracy' is already in the logs"):
        fit_aging(twice, epochs=1)


def test_finds_the_encoder_of_any_model_or_says_what_to_give() -> None:
    encoder = Aging(best_age=0)
    probe = OnlineProbe(TRAIN, VALIDATION, length=LENGTH)
    probe.set_model(types.SimpleNamespace(query_tower=encoder))
    with pytest.raises(ValueError, match="encoder must be given, since Sequential has"):
        probe.set_model(tf.keras.Sequential())
    given = OnlineProbe(TRAIN, VALIDATION, length=LENGTH, encoder=encoder)
    given.set_model(tf.keras.Sequential())
    given.set_params({})
    logs = {}
    given.on_epoch_end(0, logs)
    assert logs["probe_accuracy"] == 1
