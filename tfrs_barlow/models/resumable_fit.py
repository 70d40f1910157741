"""A `fit` that resumes where an interrupted one stopped."""

from __future__ import annotations

import contextlib
import functools
import logging
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow._lock import locked
from tfrs_barlow.models.backup import Backup, writes_backups
from tfrs_barlow.models.run_settings import run_settings
from tfrs_barlow.models.stop_request import StopRequest, raise_for_signal


def fit_resumable(
    model: tf.keras.Model,
    make_batches: Callable[..., tf.data.Dataset],
    *,
    steps: int,
    backup_dir: str | pathlib.Path,
    steps_per_epoch: int = 50,
    backup_steps: int | None = None,
    backup_seconds: float | None = None,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    verbose: Any = "auto",
) -> tf.keras.callbacks.History:
    """Trains a compiled model, with backups from which training resumes.

    If `backup_dir` holds the backup of an interrupted call with the same arguments,
    training resumes from it, with the batches and views that the uninterrupted run
    would have seen, and ends at the same weights. The backup stays when training is
    over: another call only restores the model, and so it does after a callback has
    stopped the run early. Delete the backup to start anew.

    A damaged backup costs itself alone: training resumes from the newest one that can
    be read, with a warning. Another optimizer class, other views, and other arguments
    of a `functools.partial` (data, batch size, length, seed) than those of the backup
    are refused; another first batch or seed of views is logged as a warning. One
    process at a time may use `backup_dir`.

    On SIGTERM (sent by schedulers and to preempted machines) and on Ctrl-C the function
    completes the step, backs it up, and raises `SystemExit(143)` or
    `KeyboardInterrupt`. A second Ctrl-C stops at once. Signal handlers are replaced
    only while the function runs, and only in the main thread.

    It works under any strategy whose scope the model was made in. All workers of a
    `MultiWorkerMirroredStrategy` must reach the same `backup_dir`; they stop and back
    up together. If one of them is lost, restart all.

    Args:
        model: A compiled `tfrs.Model`.
        make_batches: Makes the batches from the step `first_step` on, its only
            argument, an integer: for example `tfrs_barlow.data.training_batches` or
            `pair_batches` with the other arguments filled in by `functools.partial`.
            Under a strategy these are the global batches.
        steps: The number of batches to train on in total.
        backup_dir: The folder for the backups: one for this model alone.
        steps_per_epoch: Report after so many steps. The last epoch has fewer if `steps`
            is not a multiple.
        backup_steps: Back up after so many steps. Default: after every epoch.
        backup_seconds: Back up after so many seconds, at the end of a step. With
            `backup_steps`, whichever comes first.
        callbacks: More callbacks for `fit`. A run that resumes within an epoch begins
            with a separate call of `fit` for the rest of it.
        verbose: Passed on to `tf.keras.Model.fit`.

    Returns:
        The history of the epochs that this call has trained.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If a number is out of its range, the model is not compiled, or the
            backup is of another model, of a run with other settings, or of more steps.
        FloatingPointError: If a loss or a weight is not finite. The message names the
            last good backup, which is kept.
        OSError: If a backup cannot be written, for example on a full disk, if none of
            those there can be read, or if another process uses `backup_dir`. Complete
            backups are kept.

    Examples:
        >>> import functools, tempfile
        >>> log = tfrsb.data.generate_synthetic_log(num_users=40, num_items=200)
        >>> sequences, vocabulary = tfrsb.data.build_sequences(log)
        >>> encoder = tfrsb.layers.ItemPoolingEncoder(vocabulary.size, output_dim=8)
        >>> model = tfrsb.models.BarlowTwinsPretraining(encoder)
        >>> model.compile(tf.keras.optimizers.Adam())
        >>> batches = functools.partial(
        ...     tfrsb.data.training_batches, sequences, batch_size=16, length=10
        ... )
        >>> history = tfrsb.models.fit_resumable(
        ...     model, batches, steps=2, backup_dir=tempfile.mkdtemp(), verbose=0
        ... )
        >>> int(model.optimizer.iterations)
        2
    """
    if not callable(make_batches):
        raise TypeError(f"make_batches must be callable, but it is {make_batches!r}.")
    steps = _checks.integer("steps", steps, at_least=1)
    steps_per_epoch = _checks.integer("steps_per_epoch", steps_per_epoch, at_least=1)
    if backup_steps is not None:
        backup_steps = _checks.integer("backup_steps", backup_steps, at_least=1)
    if backup_seconds is not None:
        backup_seconds = _checks.number("backup_seconds", backup_seconds, at_least=0)
    backup_dir = _checks.path("backup_dir", backup_dir)
    _checks.instance("model", model, tf.keras.Model)
    if getattr(model, "optimizer", None) is None:
        raise ValueError("model must be compiled, but it has no optimizer.")
    settings = run_settings(model, make_batches, _build(model, make_batches))
    # Of several workers one writes.
    lock = locked(backup_dir) if writes_backups(model) else contextlib.nullcontext()
    with lock, StopRequest() as stop:
        backup = Backup(
            model,
            backup_dir,
            stop,
            settings,
            steps=steps,
            steps_per_epoch=steps_per_epoch,
            every_steps=backup_steps,
            every_seconds=backup_seconds,
        )
        is_stopped = backup.restore()
        history = tf.keras.callbacks.History()
        epochs: list[int] = []
        if is_stopped:
            logging.getLogger("tfrs_barlow").warning(
                "Callbacks stopped the run in %s at step %d, so it does not continue. "
                "Delete the folder to start anew.",
                backup_dir,
                backup.step,
            )
            steps = backup.step
        for stretch in _stretches(backup.step, steps, steps_per_epoch):
            model.fit(
                make_batches(first_step=backup.step),
                **stretch,
                # The history comes after callbacks that add to the logs. The backup is
                # last, so that it holds what the others have changed.
                callbacks=[*callbacks, history, backup],
                verbose=verbose,
            )
            epochs += history.epoch
            if model.stop_training:
                break
        history.epoch = epochs
        if stop.received:
            raise_for_signal(stop.received)
    return history


def _stretches(step: int, steps: int, steps_per_epoch: int) -> Iterator[dict[str, int]]:
    """Yields arguments of `fit`: for the rest of an epoch, whole epochs, a part."""
    while step < steps:
        epoch, done = divmod(step, steps_per_epoch)
        count = min(steps_per_epoch - done, steps - step)
        # Whole epochs are one call of `fit`, as users and their callbacks expect.
        epochs = (steps - step) // count if count == steps_per_epoch else 1
        yield {
            "initial_epoch": epoch,
            "epochs": epoch + epochs,
            "steps_per_epoch": count,
        }
        step += epochs * count


def _build(model: tf.keras.Model, make_batches: Callable[..., tf.data.Dataset]) -> Any:
    """Creates all weights, which must exist to be restored; returns the first batch."""
    strategy = model.distribute_strategy
    batch = None
    with strategy.scope():
        for batch in make_batches(first_step=0).take(1):
            compute_loss = functools.partial(model.compute_loss, training=False)
            if strategy.num_replicas_in_sync > 1:
                compute_loss = tf.function(compute_loss, autograph=False)
            strategy.run(compute_loss, [batch])
        model.built = True
        if hasattr(model.optimizer, "build"):  # Keras' legacy optimizers lack it.
            model.optimizer.build(model.trainable_variables)
    return batch
