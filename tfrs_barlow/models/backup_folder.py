"""A folder of backups: each is written whole, and the newest that reads is restored."""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

KEPT = 2
"""How many backups there are: one more than needed, should the newest be damaged."""

_NOTES = "notes/.ATTRIBUTES/VARIABLE_VALUE"
_FILE = re.compile(r"(ckpt-(\d+))\.(index|data-\d{5}-of-\d{5})")


class FoundBackup(NamedTuple):
    """A backup that reads to its last byte.

    Attributes:
        step: After how many steps it was written.
        path: The checkpoint, without the endings of its files.
        notes: What `BackupFolder.write` got; empty where something else wrote it.
    """

    step: int
    path: pathlib.Path
    notes: dict[str, Any]


class BackupFolder:
    """Checkpoints `ckpt-STEP` in one folder, which no damage to a file makes useless.

    What there is to restore is found by the names of files alone, and read to its last
    byte before it counts. The file `checkpoint` is written for other tools, as
    `tf.train.latest_checkpoint`, and never read. So the folder may be copied, in part,
    or come from a `tf.train.CheckpointManager`.

    A checkpoint is written into a folder of drafts and then moved. What is deleted is
    older than `KEPT` backups that this object has itself written or read.
    """

    def __init__(self, folder: pathlib.Path, **tracked: Any) -> None:
        self.folder = folder
        self._drafts = folder / "drafts"
        self._tracked = tf.train.Checkpoint(**tracked)
        # All workers create it now, not only the one that writes, at its first backup.
        self._tracked.save_counter  # noqa: B018
        self._notes = tf.Variable("", trainable=False, name="notes")
        self._written = tf.train.Checkpoint(notes=self._notes, **tracked)
        self._written.save_counter  # noqa: B018
        self._good: list[int] = []

    def find(self) -> FoundBackup | None:
        """Finds the newest backup that can be read, or None if there are no backups.

        Raises:
            OSError: If there are backups, but none that can be read; names all files.
        """
        self._finish_draft()
        faults: list[str] = []
        for step in sorted(self._steps(), reverse=True):
            path = self._path(step)
            try:
                notes = _read_whole(path)
            except Exception as error:  # TensorFlow raises some of nearly every kind.
                fault = getattr(error, "message", None) or repr(error)
                faults.append(f"{path} cannot be read: {fault}")
                _warn("The backup %s", faults[-1])
            else:
                self._good.append(step)
                return FoundBackup(step, path, notes)
        if faults:
            raise OSError(
                f"None of the backups in {self.folder} can be read, so training would "
                f"start anew. If you want that, delete the folder. {' '.join(faults)}"
            )
        return None

    def load(self, backup: FoundBackup) -> None:
        """Brings everything tracked to the state of a backup.

        Raises:
            ValueError: If it is of another model.
        """
        try:
            # Partial, since nobody asks for the notes.
            status = self._tracked.restore(str(backup.path)).expect_partial()
            status.assert_existing_objects_matched()
        except (AssertionError, ValueError) as error:
            raise ValueError(
                f"{backup.path} must be a backup of this model, but it is of another "
                f"one: {error} Choose another backup_dir, or delete this one."
            ) from error

    def write(self, step: int, notes: Mapping[str, Any]) -> None:
        """Writes the backup of a step; those before it stay until it is complete.

        Raises:
            OSError: If it cannot be written.
        """
        self._notes.assign(json.dumps(notes))
        shutil.rmtree(self._drafts, ignore_errors=True)
        try:
            self._written.write(str(self._drafts / f"ckpt-{step}"))
            self._finish_draft()
        except tf.errors.OpError as error:
            raise OSError(error.message) from error
        finally:
            shutil.rmtree(self._drafts, ignore_errors=True)
        self._good = sorted({*self._good, step})[-KEPT:]
        self._delete_older()
        self._write_state()

    def take_part_in_writing(self) -> None:
        """Does what a worker that writes nothing must do while another one writes.

        All workers take part: some variables are means over all of them.
        """
        with tempfile.TemporaryDirectory() as folder:
            self._written.write(f"{folder}/backup")

    @property
    def latest(self) -> pathlib.Path | None:
        """The newest backup that was written or read, if any."""
        return self._path(self._good[-1]) if self._good else None

    def _path(self, step: int) -> pathlib.Path:
        return self.folder / f"ckpt-{step}"

    def _steps(self) -> set[int]:
        """Returns the steps of which there is any file, complete or not."""
        if not self.folder.is_dir():
            return set()
        matches = (_FILE.fullmatch(file.name) for file in self.folder.iterdir())
        return {int(match[2]) for match in matches if match}

    def _finish_draft(self) -> None:
        """Moves a complete draft to its place: also one that a kill has left.

        TensorFlow writes the index last, so what has one is complete. It is moved last.
        """
        for index in self._drafts.glob("ckpt-*.index"):
            for data in self._drafts.glob(f"{index.stem}.data-*"):
                # Of several workers one is the first.
                with contextlib.suppress(FileNotFoundError):
                    data.replace(self.folder / data.name)
            with contextlib.suppress(FileNotFoundError):
                index.replace(self.folder / index.name)

    def _delete_older(self) -> None:
        for file in self.folder.glob("ckpt-*"):
            match = _FILE.fullmatch(file.name)
            if match is None:  # What a `tf.train.CheckpointManager` did not complete.
                shutil.rmtree(file) if file.is_dir() else file.unlink()
            elif len(self._good) == KEPT and int(match[2]) < self._good[0]:
                file.unlink()

    def _write_state(self) -> None:
        paths = [str(self._path(step)) for step in self._good]
        tf.compat.v1.train.update_checkpoint_state(
            str(self.folder), paths[-1], all_model_checkpoint_paths=paths
        )


def _read_whole(path: pathlib.Path) -> dict[str, Any]:
    """Reads every value of a checkpoint against its checksum; returns the notes."""
    if not path.with_name(f"{path.name}.index").is_file():
        raise FileNotFoundError(f"{path.name}.index is missing")
    reader = tf.train.load_checkpoint(str(path))
    values = {
        name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
    }
    return json.loads(values.get(_NOTES, "{}"))


def _warn(*args: Any) -> None:
    logging.getLogger("tfrs_barlow").warning(*args)
