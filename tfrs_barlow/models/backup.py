"""A callback that backs up a training run, but never a damaged state."""

from __future__ import annotations

import collections
import logging
import math
import pathlib
import signal
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_barlow.models.backup_folder import BackupFolder
from tfrs_barlow.models.run_settings import require_same_run
from tfrs_barlow.models.stop_request import SIGNALS, StopRequest, raise_for_signal

_LAG = 8
"""A loss is read so many steps later, in order not to wait for the accelerator."""


class Backup(tf.keras.callbacks.Callback):
    """Backs up model, optimizer and step; stops on signals and on NaN losses.

    `tf.keras.callbacks.BackupAndRestore` writes the weights whatever they are, leaves
    files of incomplete backups, and handles signals on Google's platforms only. This
    callback reads what the other has written.

    With several workers the first one writes, and all read. Any of them may get the
    signal, so they agree after every step on whether to stop.

    Args:
        model: The model, compiled and with all its weights.
        backup_dir: The folder for the backups.
        stop: Notes the signals to stop.
        settings: Those of this run: see `run_settings`.
        steps: The step after which training ends.
        steps_per_epoch: The steps of a full epoch. The last one may be shorter.
        every_steps: Back up after so many steps.
        every_seconds: Back up after so many seconds. With neither: after every epoch.
    """

    # Keras then passes losses as tensors, without waiting until they are computed.
    _supports_tf_logs = True

    def __init__(
        self,
        model: tf.keras.Model,
        backup_dir: str | pathlib.Path,
        stop: StopRequest,
        settings: Mapping[str, Any],
        *,
        steps: int,
        steps_per_epoch: int,
        every_steps: int | None,
        every_seconds: float | None,
    ) -> None:
        super().__init__()
        self.set_model(model)
        self.step = 0
        self._stop = stop
        self._settings = settings
        self._steps = steps
        self._steps_per_epoch = steps_per_epoch
        self._every_steps = every_steps
        self._every_seconds = every_seconds
        self._losses: collections.deque[tuple[int, Any]] = collections.deque()
        self._last_batch = -1
        self._agree = _make_agree(model.distribute_strategy)
        self._backups = BackupFolder(
            pathlib.Path(backup_dir) / "chief",
            # TensorBoard counts batches by Keras' counter.
            model=model,
            train_counter=model._train_counter,
        )

    def restore(self) -> bool:
        """Restores the newest backup that can be read, if there are backups.

        Returns:
            Whether callbacks had stopped the run that wrote it.

        Raises:
            ValueError: If the backup is of another model or run, or has more steps.
            OSError: If none of the backups can be read.
        """
        backup = self._backups.find()
        notes = backup.notes if backup else {}
        if backup is not None:
            if backup.step > self._steps:
                raise ValueError(
                    f"steps must be at least {backup.step}, which {backup.path} has, "
                    f"but it is {self._steps}. Choose another backup_dir, or delete "
                    "this one."
                )
            require_same_run(notes.get("settings", {}), self._settings, backup.path)
            self._backups.load(backup)
        self.step = self._saved_step = int(self.model.optimizer.iterations.numpy())
        self._saved_time = time.monotonic()
        return bool(notes.get("stopped"))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restarts the count of batches."""
        self._last_batch = -1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the step, checks a loss, and backs up if it is time."""
        self.step += batch - self._last_batch
        self._last_batch = batch
        logs = logs or {}
        self._losses.append((self.step, logs.get("total_loss", logs.get("loss"))))
        if len(self._losses) > _LAG:
            self._check_loss()
        # The last step of an epoch is backed up at its end, after other callbacks.
        if self.step % self._steps_per_epoch and self.step < self._steps:
            self._save_or_stop(epoch_ends=False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Backs up if it is time."""
        self._save_or_stop(epoch_ends=True)

    def on_train_end(self, logs: Any = None) -> None:
        """Backs up the last step."""
        self._save()

    def _save_or_stop(self, epoch_ends: bool) -> None:
        received, late = self._agree(self._stop.received, self._is_late())
        if received or late or self._is_due(epoch_ends):
            self._save()
        if received:
            _warn(
                "%s: training stops after step %d, which is backed up in %s.",
                received.name,
                self.step,
                self._backups.folder,
            )
            raise_for_signal(received)

    def _is_late(self) -> bool:
        if self._every_seconds is None:
            return False
        return time.monotonic() - self._saved_time >= self._every_seconds

    def _is_due(self, epoch_ends: bool) -> bool:
        if self._every_steps is not None:
            # The remainder may never be 0: Keras may execute several steps at once.
            every = self._every_steps
            return self.step // every > self._saved_step // every
        return self._every_seconds is None and epoch_ends

    def _save(self) -> None:
        while self._losses:
            self._check_loss()
        if self.step == self._saved_step:
            return
        self._check_weights()
        self._write()
        self._saved_step = self.step
        self._saved_time = time.monotonic()

    def _check_loss(self) -> None:
        step, loss = self._losses.popleft()
        if loss is not None and not math.isfinite(loss):
            raise FloatingPointError(
                f"The loss of step {step} is {float(loss)}. {self._what_is_left()}"
            )

    def _check_weights(self) -> None:
        for weight in self.model.trainable_weights:
            if not tf.reduce_all(tf.math.is_finite(weight)):
                raise FloatingPointError(
                    f"The weight {weight.name} is no longer finite at step "
                    f"{self.step}. {self._what_is_left()}"
                )

    def _what_is_left(self) -> str:
        if self._backups.latest is None:
            return "Training has stopped before the first backup."
        return f"Training has stopped; the last good backup is {self._backups.latest}."

    def _write(self) -> None:
        if not writes_backups(self.model):
            self._backups.take_part_in_writing()
            return
        stopped = bool(self.model.stop_training)
        try:
            self._backups.write(
                self.step, {"settings": self._settings, "stopped": stopped}
            )
        except OSError as error:
            raise OSError(
                f"The backup of step {self.step} could not be written: {error}. "
                f"{self._what_is_left()}"
            ) from error


def writes_backups(model: tf.keras.Model) -> bool:
    """Returns whether this worker is the one that writes."""
    return model.distribute_strategy.extended.should_checkpoint


def _make_agree(strategy: tf.distribute.Strategy) -> Any:
    """Returns a function that combines the signals and delays of all workers."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return lambda received, late: (received, late)

    def add(flags: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        # `all_reduce` needs a device, which the argument of a function lacks.
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(flags))

    add_over_workers = tf.function(
        lambda flags: strategy.run(add, [flags]), autograph=False
    )

    def agree(
        received: signal.Signals | None, late: bool
    ) -> tuple[signal.Signals | None, bool]:
        flags = tf.constant([*(received == one for one in SIGNALS), late], tf.int32)
        sums = strategy.experimental_local_results(add_over_workers(flags))[0].numpy()
        noted = [one for one, count in zip(SIGNALS, sums, strict=False) if count]
        return (noted[0] if noted else None), bool(sums[-1])

    return agree


def _warn(*args: Any) -> None:
    logging.getLogger("tfrs_barlow").warning(*args)
