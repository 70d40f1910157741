"""A callback that writes backups of a training run, and never a bad one."""

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

from tfrs_barlow.models.stop_request import SIGNALS, StopRequest, obey

_KEPT = 2
"""How many backups there are: one more than needed, should the newest be damaged."""

_LAG = 8
"""How many steps a loss is read late, so that an accelerator need not be waited for."""

_UNREADABLE = (
    IndexError,  # Of a file that is too short.
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
)


class Backup(tf.keras.callbacks.Callback):
    """Backs up model, optimizer and step; stops on signals and on losses of NaN.

    `tf.keras.callbacks.BackupAndRestore` does less: it writes whatever the weights are,
    leaves what it could not write, and stops after a signal on Google's platforms only.
    This one is a `tf.train.CheckpointManager` too, and reads what that one has written.

    Of several workers the first writes, and all read. They agree after every step on
    whether to stop, since the signal may come to any of them.
    """

    # So Keras hands over losses as tensors, and does not wait for them to be computed.
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
        """Initializes the callback.

        Args:
            model: The model, compiled and with all its weights.
            backup_dir: Where to keep the backups.
            stop: Notes the signals to stop.
            steps: After how many steps training ends, and with it the last epoch.
            steps_per_epoch: How many steps a full epoch has.
            every_steps: After how many steps to back up.
            every_seconds: After how many seconds. Without either, after every epoch.
        """
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
        # Created by all workers, and not by the one that writes when it first does.
        self._checkpoint.save_counter  # noqa: B018
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(self.folder), max_to_keep=_KEPT
        )

    def restore(self) -> None:
        """Brings the model to the newest backup that can be read, if there is any.

        Raises:
            ValueError: If the backup is of another model.
            OSError: If there are backups, but none that can be read.
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
        """Notes that batches are counted anew."""
        self._last_batch = -1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the step, looks at its loss, and backs up if it is time."""
        self.step += batch - self._last_batch
        self._last_batch = batch
        logs = logs or {}
        self._losses.append((self.step, logs.get("total_loss", logs.get("loss"))))
        if len(self._losses) > _LAG:
            self._check_loss()
        # What other callbacks do at the end of an epoch belongs to its last step.
        if self.step % self._steps_per_epoch and self.step < self._steps:
            self._save_or_stop(epoch_ends=False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Backs up if it is time."""
        self._save_or_stop(epoch_ends=True)

    def on_train_end(self, logs: Any = None) -> None:
        """Backs up what has not been yet."""
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
            obey(received)

    def _is_late(self) -> bool:
        if self._every_seconds is None:
            return False
        return time.monotonic() - self._saved_time >= self._every_seconds

    def _is_due(self, epoch_ends: bool) -> bool:
        if self._every_steps is not None:
            # Not by the remainder: Keras may execute several steps at once.
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
                    f"The weight {weight.name} is not finite any more at step "
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
                f"{path} must be a backup of this model, but it is one of another: "
                f"{error} Choose another backup_dir, or delete this one."
            ) from error

    def _write(self) -> None:
        if not self._writes:
            # It takes part, since some variables are the mean over all workers.
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
        """Deletes what is left of backups that were not completed."""
        state = tf.train.get_checkpoint_state(str(self.folder))
        paths = state.all_model_checkpoint_paths if state else ()
        complete = tuple(f"{pathlib.Path(path).name}." for path in paths)
        for path in self.folder.glob("ckpt-*"):
            if path.name.startswith(complete):
                continue
            # TensorFlow writes into a folder first.
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _make_agree(strategy: tf.distribute.Strategy) -> Any:
    """Returns a function that tells what any of the workers has been told."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return lambda received, late: (received, late)

    def add(flags: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        # What comes right from outside has no device, which this asks for.
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(flags))

    add_over_workers = tf.function(
        lambda flags: strategy.run(add, [flags]), autograph=False
    )

    def agree(
        received: signal.Signals | None, late: bool
    ) -> tuple[signal.Signals | None, bool]:
        flags = tf.constant([*(received == one for one in SIGNALS), late], tf.int32)
        sums = strategy.experimental_local_results(add_over_workers(flags))[0].numpy()
        told = [one for one, count in zip(SIGNALS, sums, strict=False) if count]
        return (told[0] if told else None), bool(sums[-1])

    return agree


def _warn(*args: Any) -> None:
    logging.getLogger("tfrs_barlow").warning(*args)
