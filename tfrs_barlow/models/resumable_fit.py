"""A `fit` that goes on where an interrupted one stopped."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def fit_resumable(
    model: tf.keras.Model,
    make_batches: Callable[..., tf.data.Dataset],
    *,
    steps: int,
    backup_dir: str | pathlib.Path,
    steps_per_epoch: int = 50,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    verbose: Any = "auto",
) -> tf.keras.callbacks.History:
    """Trains a compiled model and backs it up after every epoch.

    If `backup_dir` holds the backup of an interrupted call with the same arguments,
    training goes on behind the last epoch that it completed, with the batches that the
    uninterrupted run would have seen. The backup stays when training is over: called
    again, it only restores the model. Delete it to start anew.

    Args:
        model: A compiled `tfrs.Model`.
        make_batches: Returns endless batches from the step `first_step` on, its only
            argument, a variable: such as `tfrs_barlow.data.training_batches` or
            `pair_batches` with the other arguments filled in by `functools.partial`.
        steps: How many batches to train on in all.
        backup_dir: Where to keep the backup: a folder for this model alone.
        steps_per_epoch: After how many steps to report and to back up; a last epoch
            with fewer steps is made full.
        callbacks: More callbacks for `fit`.
        verbose: As of `tf.keras.Model.fit`.

    Returns:
        The history of the epochs this call has trained.

    Raises:
        ValueError: If `steps` or `steps_per_epoch` is less than 1.
    """
    for name, value in (("steps", steps), ("steps_per_epoch", steps_per_epoch)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but it is {value}.")
    batches = make_batches(first_step=model.optimizer.iterations)
    _build(model, batches)
    backup = tf.keras.callbacks.BackupAndRestore(
        str(backup_dir), delete_checkpoint=False
    )
    return model.fit(
        batches,
        epochs=-(-steps // steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        callbacks=[backup, *callbacks],
        verbose=verbose,
    )


def _build(model: tf.keras.Model, batches: tf.data.Dataset) -> None:
    """Creates all weights of the model, which must be there to be restored."""
    for batch in batches.take(1):
        model.compute_loss(batch, training=False)
    model.built = True
