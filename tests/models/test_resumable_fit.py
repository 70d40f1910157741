"""A training run that is interrupted ends where an unbroken one ends."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb
from tfrs_barlow.models import BarlowTwinsPretraining, DualEncoder, fit_resumable

LOG = tfrsb.data.generate_synthetic_log(num_users=60, num_items=120, mean_length=12)
SEQUENCES, VOCABULARY = tfrsb.data.build_sequences(LOG)
BATCHES = functools.partial(
    tfrsb.data.training_batches, SEQUENCES, batch_size=16, length=10
)

# The default epsilon would make steps of rounding errors, which depend on the threads.
ADAM = functools.partial(tf.keras.optimizers.Adam, 0.01, epsilon=1e-3)


def pretraining():
    tf.keras.utils.set_random_seed(3)
    model = BarlowTwinsPretraining(
        tfrsb.layers.MeanPoolingEncoder(VOCABULARY.size, output_dim=8, dropout=0.0),
        projector=tfrsb.layers.Projector([16, 16]),
    )
    model.compile(ADAM())
    return model


def dual_encoder():
    tf.keras.utils.set_random_seed(3)
    model = DualEncoder(
        tfrsb.layers.GRUEncoder(VOCABULARY.size, output_dim=8),
        tf.keras.layers.Embedding(VOCABULARY.size, 8),
        sampling_probability=np.full(VOCABULARY.size, 1 / VOCABULARY.size),
    )
    model.compile(ADAM())
    return model


class InterruptAt(tf.keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            raise KeyboardInterrupt


def fit(model, backup_dir, callbacks=()):
    return fit_resumable(
        model,
        BATCHES,
        steps=12,
        steps_per_epoch=4,
        backup_dir=backup_dir,
        callbacks=callbacks,
        verbose=0,
    )


@pytest.mark.parametrize("make", [pretraining, dual_encoder])
@pytest.mark.parametrize("steps", [[2], [4, 7, 11]])
def test_ends_at_the_weights_of_the_unbroken_run(make, steps, tmp_path):
    unbroken = make()
    fit(unbroken, tmp_path / "unbroken")
    for step in steps:
        with pytest.raises(KeyboardInterrupt):
            fit(make(), tmp_path / "broken", [InterruptAt(step)])
    resumed = make()
    fit(resumed, tmp_path / "broken")
    assert int(resumed.optimizer.iterations) == 12
    for ours, expected in zip(
        resumed.get_weights(), unbroken.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_finished_run_is_only_restored(tmp_path):
    finished = pretraining()
    fit(finished, tmp_path)
    again = pretraining()
    history = fit(again, tmp_path)
    assert history.history == {}
    for ours, expected in zip(again.get_weights(), finished.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("argument", ["steps", "steps_per_epoch"])
def test_bad_arguments_are_named(argument, tmp_path):
    arguments = {"steps": 2, "steps_per_epoch": 1}
    with pytest.raises(ValueError, match=f"{argument} must be at least 1"):
        fit_resumable(
            pretraining(),
            BATCHES,
            **{**arguments, argument: 0},
            backup_dir=tmp_path,
        )
