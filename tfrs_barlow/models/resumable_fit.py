"""A `fit` that goes on where an interrupted one stopped."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfrs_barlow.models.backup import Backup
from tfrs_barlow.models.stop_request import StopRequest, obey


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
    """Trains a compiled model, and backs it up so that no interruption costs much.

    If `backup_dir` holds the backup of an interrupted call with the same arguments,
    training goes on behind it, with the batches and views that the uninterrupted run
    would have seen, and ends at the same weights. The backup stays when training is
    over: called again, it only restores the model. Delete it to start anew.

    On SIGTERM (as preempted machines and schedulers send it) and on Ctrl-C it completes
    the step, backs it up, and raises `SystemExit(143)` or `KeyboardInterrupt`. A second
    Ctrl-C stops at once. Handlers are replaced only while this runs, and only in the
    main thread.

    It runs under any strategy whose scope the model was made in. All workers of a
    `MultiWorkerMirroredStrategy` must reach the same `backup_dir`; they stop and back
    up together. If one of them is lost, start all again.

    Args:
        model: A compiled `tfrs.Model`.
        make_batches: Returns endless batches from the step `first_step` on, its only
            argument, an integer: such as `tfrs_barlow.data.training_batches` or
            `pair_batches` with the other arguments filled in by `functools.partial`.
            Under a strategy these are the global batches.
        steps: How many batches to train on in all.
        backup_dir: Where to keep the backup: a folder for this model alone.
        steps_per_epoch: After how many steps to report. The last epoch has fewer if
            `steps` is not a multiple.
        backup_steps: After how many steps to back up. Default: after every epoch.
        backup_seconds: After how many seconds to back up, at the end of a step; if
            `backup_steps` is given too, after whichever comes first.
        callbacks: More callbacks for `fit`. A run that goes on within an epoch begins
            with a `fit` of its own for the rest of it.
        verbose: As of `tf.keras.Model.fit`.

    Returns:
        The history of the epochs this call has trained.

    Raises:
        ValueError: If `steps`, `steps_per_epoch` or `backup_steps` is less than 1,
            `backup_seconds` is negative, or the backup is of another model.
        FloatingPointError: If a loss or a weight is not finite any more. The last good
            backup is named, and kept.
        OSError: If a backup cannot be written, as on a full disk, or none of those
            there can be read. Backups that were complete are kept.
    """
    for name, value in (
        ("steps", steps),
        ("steps_per_epoch", steps_per_epoch),
        ("backup_steps", backup_steps),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, but it is {value}.")
    if backup_seconds is not None and not backup_seconds >= 0:
        raise ValueError(
            f"backup_seconds must be at least 0, but it is {backup_seconds}."
        )
    _build(model, make_batches)
    with StopRequest() as stop:
        backup = Backup(
            model,
            backup_dir,
            stop,
            steps=steps,
            steps_per_epoch=steps_per_epoch,
            every_steps=backup_steps,
            every_seconds=backup_seconds,
        )
        backup.restore()
        history = tf.keras.callbacks.History()
        epochs: list[int] = []
        for stretch in _stretches(backup.step, steps, steps_per_epoch):
            model.fit(
                make_batches(first_step=backup.step),
                **stretch,
                # The history after those that add to the logs, and the backup last, so
                # that it holds what the others have changed.
                callbacks=[*callbacks, history, backup],
                verbose=verbose,
            )
            epochs += history.epoch
            if model.stop_training:
                break
        history.epoch = epochs
        if stop.received:
            obey(stop.received)
    return history


def _stretches(step: int, steps: int, steps_per_epoch: int) -> Iterator[dict[str, int]]:
    """Returns arguments of `fit`: the rest of an epoch, whole ones, a part of one."""
    while step < steps:
        epoch, done = divmod(step, steps_per_epoch)
        count = min(steps_per_epoch - done, steps - step)
        # Whole epochs are one `fit`, as users and their callbacks expect.
        epochs = (steps - step) // count if count == steps_per_epoch else 1
        yield {
            "initial_epoch": epoch,
            "epochs": epoch + epochs,
            "steps_per_epoch": count,
        }
        step += epochs * count


def _build(model: tf.keras.Model, make_batches: Callable[..., tf.data.Dataset]) -> None:
    """Creates all weights, which must be there to be restored."""
    strategy = model.distribute_strategy
    with strategy.scope():
        for batch in make_batches(first_step=0).take(1):
            compute_loss = functools.partial(model.compute_loss, training=False)
            if strategy.num_replicas_in_sync > 1:
                compute_loss = tf.function(compute_loss, autograph=False)
            strategy.run(compute_loss, [batch])
        model.built = True
        if hasattr(model.optimizer, "build"):  # Those of Keras' `legacy` lack it.
            model.optimizer.build(model.trainable_variables)
