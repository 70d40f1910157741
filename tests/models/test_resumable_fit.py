"""A training run that is interrupted ends where an unbroken one ends."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import signal
import threading
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

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
        tfrsb.layers.ItemPoolingEncoder(
            VOCABULARY.size, output_dim=8, dropout=0.0, pooling="mean"
        ),
        projector=tfrsb.layers.Projector([16, 16]),
    )
    # AutoGraph would take longer than the test.
    model.compute_loss = tf.autograph.experimental.do_not_convert(model.compute_loss)
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


@pytest.fixture(autouse=True)
def _ctrl_c_counts():
    """Processes that a shell starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
def test_ends_at_the_weights_of_the_unbroken_run(
    make: Any, tmp_path: pathlib.Path
) -> None:
    unbroken = make()
    fit(unbroken, tmp_path / "unbroken")
    # Before the first backup, at one, and twice between two.
    for step in (2, 4, 7, 11):
        with pytest.raises(KeyboardInterrupt):
            fit(make(), tmp_path / "broken", [InterruptAt(step)])
    resumed = make()
    fit(resumed, tmp_path / "broken")
    assert int(resumed.optimizer.iterations) == 12
    for ours, expected in zip(
        resumed.get_weights(), unbroken.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


class Line(tfrs.Model):
    """The smallest model: two weights that fit the batches."""

    def __init__(self, units=1):
        super().__init__()
        self.dense = tf.keras.layers.Dense(units)

    @tf.autograph.experimental.do_not_convert  # It would take long.
    def compute_loss(self, features, training=False):
        return tf.reduce_mean((self.dense(features) - 3 * features) ** 2)


def line(units=1):
    tf.keras.utils.set_random_seed(5)
    model = Line(units)
    model.compile(tf.keras.optimizers.Adam(0.1))
    return model


def numbers(first_step):
    """Returns batches that depend on their step alone."""
    steps = tf.data.Dataset.range(first_step, 2**62)
    return steps.map(lambda step: tf.random.stateless_normal([4, 1], [7, step]))


def fit_line(model, backup_dir, *callbacks, **arguments):
    arguments = {"steps": 12, "steps_per_epoch": 4, **arguments}
    return fit_resumable(
        model,
        numbers,
        backup_dir=backup_dir,
        callbacks=callbacks,
        verbose=0,
        **arguments,
    )


class AtStep(tf.keras.callbacks.Callback):
    """Does something after a step."""

    def __init__(self, step, action):
        super().__init__()
        self.step = step
        self.action = action

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            self.action(self.model)


def backups(folder):
    return sorted(file.stem for file in (folder / "chief").glob("*.index"))


@pytest.mark.parametrize("steps", [3, 4, 10, 12])
@pytest.mark.parametrize("first_steps", [None, 2])
def test_takes_as_many_steps_as_asked_for(
    steps: Any, first_steps: int | None, tmp_path: pathlib.Path
) -> None:
    model = line()
    if first_steps:
        fit_line(model, tmp_path, steps=first_steps)
    history = fit_line(model, tmp_path, steps=steps)
    assert int(model.optimizer.iterations) == steps
    first_epoch = (first_steps or 0) // 4
    assert history.epoch == list(range(first_epoch, -(-steps // 4)))


def test_the_end_of_a_short_last_epoch_is_backed_up_with_what_callbacks_do(
    tmp_path: pathlib.Path,
) -> None:
    class Halve(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = (
                self.model.optimizer.learning_rate * 0.5
            )

    model = line()
    fit_line(model, tmp_path, Halve(), steps=6, backup_steps=1)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.025)
    restored = line()
    fit_line(restored, tmp_path, steps=6)
    assert float(restored.optimizer.learning_rate) == pytest.approx(0.025)


def send(number):
    return lambda _: os.kill(os.getpid(), number)


def assert_ends_as_unbroken(tmp_path, **arguments):
    """Resumes in `broken`; the final state is equal in every bit."""
    states = []
    for run in ("unbroken", "broken"):
        model = line()
        history = fit_line(model, tmp_path / run, **arguments)
        variables = [*model.weights, *model.optimizer.variables]
        states.append([variable.numpy() for variable in variables])
    for expected, ours in zip(*states, strict=True):
        np.testing.assert_array_equal(ours, expected)
    return history


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)],
)
def test_a_signal_backs_up_the_very_step(
    number: int, expected: Any, tmp_path: pathlib.Path
) -> None:
    handler = signal.getsignal(number)
    with pytest.raises(expected) as error:
        fit_line(line(), tmp_path / "broken", AtStep(6, send(number)))
    if expected is SystemExit:
        assert error.value.code == 143
    assert signal.getsignal(number) is handler
    assert backups(tmp_path / "broken") == ["ckpt-4", "ckpt-6"]
    history = assert_ends_as_unbroken(tmp_path)
    assert history.epoch == [1, 2]  # The rest of the second, and the third.
    assert len(history.history["loss"]) == 2


def test_a_second_ctrl_c_stops_at_once(tmp_path: pathlib.Path) -> None:
    def twice(model):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit_line(line(), tmp_path, AtStep(6, twice))
    assert backups(tmp_path) == ["ckpt-4"]


def test_a_signal_that_is_ignored_stays_so(tmp_path: pathlib.Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        fit_line(line(), tmp_path, AtStep(6, send(signal.SIGINT)))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert backups(tmp_path)[0] == "ckpt-12"


def test_another_thread_trains_without_handlers(tmp_path: pathlib.Path) -> None:
    thread = threading.Thread(target=fit_line, args=(line(), tmp_path))
    thread.start()
    thread.join()
    assert "ckpt-12" in backups(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({}, ["ckpt-4", "ckpt-8"]),
        ({"backup_steps": 3}, ["ckpt-6", "ckpt-9"]),
        ({"backup_seconds": 0}, ["ckpt-10", "ckpt-9"]),
        ({"backup_seconds": 1e9}, []),
        ({"backup_steps": 7, "backup_seconds": 1e9}, ["ckpt-7"]),
    ],
)
def test_backups_by_epoch_step_or_time(
    arguments: dict[str, Any], kept: list[str], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_line(line(), tmp_path / "broken", InterruptAt(11), **arguments)
    assert backups(tmp_path / "broken") == kept
    assert_ends_as_unbroken(tmp_path, **arguments)


def test_steps_that_keras_executes_at_once(tmp_path: pathlib.Path) -> None:
    model = line()
    model.compile(tf.keras.optimizers.Adam(0.1), steps_per_execution=3)
    with pytest.raises(SystemExit):
        fit_line(model, tmp_path / "broken", AtStep(7, send(signal.SIGTERM)))
    assert backups(tmp_path / "broken") == ["ckpt-4", "ckpt-7"]
    assert_ends_as_unbroken(tmp_path)


def test_what_callbacks_change_at_the_end_of_an_epoch_is_kept(
    tmp_path: pathlib.Path,
) -> None:
    class Halve(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rate = self.model.optimizer.learning_rate
            rate.assign(rate / 2)

    with pytest.raises(KeyboardInterrupt):
        fit_line(line(), tmp_path, Halve(), InterruptAt(9))
    resumed = line()
    fit_line(resumed, tmp_path, Halve())
    assert float(resumed.optimizer.learning_rate) == pytest.approx(0.1 / 8)


def test_training_that_stopped_early_is_not_resumed(tmp_path: pathlib.Path) -> None:
    class StopEarly(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    with pytest.raises(SystemExit):
        fit_line(line(), tmp_path, AtStep(2, send(signal.SIGTERM)))
    model = line()
    fit_line(model, tmp_path, StopEarly())
    assert int(model.optimizer.iterations) == 4


def spoil(model):
    model.dense.bias.assign([np.nan])


@pytest.mark.parametrize("lag", [0, 8])
def test_a_loss_of_nan_stops_the_run(
    lag: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfrs_barlow.models.backup._LAG", lag)
    last_good = tmp_path / "broken" / "chief" / "ckpt-4"
    with pytest.raises(
        FloatingPointError,
        match=rf"The loss of step 7 is nan\. .* last good backup is {last_good}\.",
    ):
        fit_line(line(), tmp_path / "broken", AtStep(6, spoil))
    assert backups(tmp_path / "broken") == ["ckpt-4"]
    assert_ends_as_unbroken(tmp_path)


def test_weights_of_nan_are_not_backed_up(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FloatingPointError, match=r"weight .*bias.* at step 8\. .*-4\."):
        fit_line(line(), tmp_path, AtStep(8, spoil))
    assert backups(tmp_path) == ["ckpt-4"]


def test_nan_before_the_first_backup(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FloatingPointError, match="stopped before the first backup"):
        fit_line(line(), tmp_path, AtStep(1, spoil))
    assert backups(tmp_path) == []


def test_a_damaged_backup_is_passed_over(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_line(line(), tmp_path / "broken", InterruptAt(9))
    (newest,) = (tmp_path / "broken" / "chief").glob("ckpt-8.data*")
    newest.write_bytes(newest.read_bytes()[:-50])
    assert_ends_as_unbroken(tmp_path)
    assert "ckpt-8 cannot be read" in caplog.text
    for file in (tmp_path / "broken" / "chief").glob("ckpt-*.data*"):
        file.write_bytes(b"")
    with pytest.raises(OSError, match=r"None of the backups in .*chief can be read"):
        fit_line(line(), tmp_path / "broken")


def test_what_a_kill_left_of_a_backup_is_deleted(tmp_path: pathlib.Path) -> None:
    fit_line(line(), tmp_path)
    folder = tmp_path / "chief"
    # TensorFlow writes parts into a folder, and in there under names not theirs yet.
    (folder / "ckpt-13_temp").mkdir()
    (folder / "ckpt-13_temp" / "part-00000-of-00001.tempstate123").touch()
    (folder / "ckpt-13.index.tempstate123").touch()
    fit_line(line(), tmp_path, steps=16)
    assert not list(folder.glob("ckpt-13*"))
    assert backups(tmp_path) == ["ckpt-12", "ckpt-16"]


@pytest.mark.parametrize("other", [lambda: line(units=2), pretraining])
def test_the_backup_of_another_model_is_refused(
    other: Any, tmp_path: pathlib.Path
) -> None:
    fit_line(line(), tmp_path, steps=4)
    batches = numbers if other is not pretraining else BATCHES
    with pytest.raises(ValueError, match="ckpt-4"):
        fit_resumable(other(), batches, steps=4, backup_dir=tmp_path)


def test_resumes_from_what_backup_and_restore_wrote(tmp_path: pathlib.Path) -> None:
    model = line()
    model.compute_loss(next(iter(numbers(0))))
    model.built = True
    backup = tf.keras.callbacks.BackupAndRestore(str(tmp_path / "broken"))
    with contextlib.suppress(KeyboardInterrupt):
        model.fit(
            numbers(0),
            epochs=3,
            steps_per_epoch=4,
            callbacks=[backup, InterruptAt(6)],
            verbose=0,
        )
    history = assert_ends_as_unbroken(tmp_path)
    assert history.epoch == [1, 2]


def test_a_finished_run_is_only_restored(tmp_path: pathlib.Path) -> None:
    finished = pretraining()
    fit(finished, tmp_path)
    again = pretraining()
    history = fit(again, tmp_path)
    assert history.history == {}
    for ours, expected in zip(again.get_weights(), finished.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("steps", 0, "1, but it is 0"),
        ("steps_per_epoch", 0, "1, but it is 0"),
        ("backup_steps", -1, "1, but it is -1"),
        ("backup_seconds", -0.5, r"0, but it is -0\.5"),
    ],
)
def test_bad_arguments_are_named(
    argument: str, value: Any, expected: Any, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match=f"{argument} must .* at least {expected}"):
        fit_line(line(), tmp_path, **{argument: value})


def test_fewer_steps_than_those_of_the_backup_are_refused(
    tmp_path: pathlib.Path,
) -> None:
    fit_line(line(), tmp_path, steps=8)
    with pytest.raises(ValueError, match=r"steps must be at least 8, which .*ckpt-8"):
        fit_line(line(), tmp_path, steps=4)


def test_a_run_that_callbacks_stopped_stays_stopped(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(model):
        model.stop_training = True

    stopped = line()
    assert fit_line(stopped, tmp_path, AtStep(4, stop)).epoch == [0]
    again = line()
    assert fit_line(again, tmp_path).epoch == []
    assert "stopped the run" in caplog.text
    for ours, expected in zip(again.get_weights(), stopped.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    "optimizer", [tf.keras.optimizers.SGD(0.1), tf.keras.optimizers.legacy.Adam(0.1)]
)
def test_another_optimizer_than_that_of_the_backup_is_refused(
    optimizer, tmp_path: pathlib.Path
) -> None:
    fit_line(line(), tmp_path, steps=4)
    model = line()
    model.compile(optimizer)
    with pytest.raises(ValueError, match=r"^optimizer must be what it was"):
        fit_line(model, tmp_path, steps=4)


def test_one_run_at_a_time_uses_a_folder(tmp_path: pathlib.Path) -> None:
    def run_again(model):
        fit_line(line(), tmp_path)

    with pytest.raises(BlockingIOError, match=f"in use by process {os.getpid()}"):
        fit_line(line(), tmp_path, AtStep(2, run_again))
