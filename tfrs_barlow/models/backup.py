"""A callback that backs up a training run, but never a damaged state."""

from __future__ import annotations

import collections
import logging
import math
import pathlib
import shutil
import signal
import tempfile
import time
from typing import Any

import tensorflow as tf

from tfrs_barlow.models.stop_request import SIGNALS, StopRequest, raise_for_signal

_KEPT = 2
"""How many backups are kept: one more than needed, in case the newest is damaged."""

_LAG = 8
"""A loss is read so many steps later, in order not to wait for the accelerator."""

_UNREADABLE = (
    IndexError,  # A file is too short.
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
)


class Backup(tf.keras.callbacks.Callback):
    """Backs up model, optimizer and step; stops on signals and on NaN losses.

    `tf.keras.callbacks.BackupAndRestore` writes the weights whatever they are, leaves
    files of incomplete backups, and handles signals on Google's platforms only. Both
    use a `tf.train.CheckpointManager`, so this callback reads what the other has
    written.

    With several workers the first one writes, and all read. Any of them may get the
    signal, so they agree after every step on whether to stop.

    Args:
        model: The model, compiled and with all its weights.
        backup_dir: The folder for the backups.
        stop: Notes the signals to stop.
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
        *,
        steps: int,
        steps_per_epoch: int,
        every_steps: int | None,
        every_seconds: float | None,
    ) -> None:
        super().__init__()
        self.set_model(model)
        self.folder = pathlib.Path(backup_dir) / "chief"
        self.step = 0
        self._stop = stop
        self._steps = steps
        self._steps_per_epoch = steps_per_epoch
        self._every_steps = every_steps
        self._every_seconds = every_seconds
        self._losses: collections.deque[tuple[int, Any]] = collections.deque()
        self._last_batch = -1
        self._agree = _make_agree(model.distribute_strategy)
        self._checkpoint = tf.train.Checkpoint(
            # TensorBoard counts batches by Keras' counter.
            model=model,
            train_counter=model._train_counter,
        )
        # All workers create it now, not only the one that writes, at its first backup.
        self._checkpoint.save_counter  # noqa: B018
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(self.folder), max_to_keep=_KEPT
        )

    def restore(self) -> None:
        """Restores the newest backup that can be read, if there are backups.

        Raises:
            ValueError: If the backup is of another model.
            OSError: If none of the backups can be read.
        """
        paths = self._manager.checkpoints
        for path in reversed(paths):
            try:
                self._read(path)
            except _UNREADABLE as error:
                _warn("The backup %s cannot be read: %s", path, error)
            else:
                break
        else:
            if paths:
                raise OSError(f"None of the backups in {self.folder} can be read.")
        if self._writes:
            self._delete_partial()
        self.step = self._saved_step = int(self.model.optimizer.iterations.numpy())
        self._saved_time = time.monotonic()

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
                self.folder,
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
        latest = tf.train.latest_checkpoint(str(self.folder))
        if latest is None:
            return "Training has stopped before the first backup."
        return f"Training has stopped; the last good backup is {latest}."

    @property
    def _writes(self) -> bool:
        return self.model.distribute_strategy.extended.should_checkpoint

    def _read(self, path: str) -> None:
        try:
            self._checkpoint.restore(path).assert_existing_objects_matched()
        except (AssertionError, ValueError) as error:
            raise ValueError(
                f"{path} must be a backup of this model, but it is of another one: "
                f"{error} Choose another backup_dir, or delete this one."
            ) from error

    def _write(self) -> None:
        if not self._writes:
            # All workers take part: some variables are means over all of them.
            with tempfile.TemporaryDirectory() as folder:
                self._checkpoint.write(f"{folder}/backup")
            return
        try:
            self._manager.save(checkpoint_number=self.step)
        except (OSError, tf.errors.OpError) as error:
            what_is_left = self._what_is_left()
            self._delete_partial()
            raise OSError(
                f"The backup of step {self.step} could not be written: "
                f"{getattr(error, 'message', error)}. {what_is_left}"
            ) from error

    def _delete_partial(self) -> None:
        """Deletes the files of incomplete backups."""
        state = tf.train.get_checkpoint_state(str(self.folder))
        paths = state.all_model_checkpoint_paths if state else ()
        complete = tuple(f"{pathlib.Path(path).name}." for path in paths)
        for path in self.folder.glob("ckpt-*"):
            if path.name.startswith(complete):
                continue
            # TensorFlow writes parts into a folder first.
            shutil.rmtree(path) if path.is_dir() else path.unlink()


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
