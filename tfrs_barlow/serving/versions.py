"""Numbered versions of a model in one folder, as TensorFlow Serving expects them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterator

import tensorflow as tf

from tfrs_barlow._lock import locked


def local_folder(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns `path` as a folder on this machine, which need not exist yet."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a string or a path, but it is {path!r}.")
    text = os.fspath(path)
    # pathlib would quietly make a local folder of `gs://bucket/model`.
    if not text or "://" in text:
        raise ValueError(f"path must be a local folder, but it is {text!r}.")
    folder = pathlib.Path(text)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"path must be a folder, but {folder} is a file.")
    return folder


def newest(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the version that `path` names: itself, or the newest in it."""
    folder = local_folder(path)
    if (folder / "saved_model.pb").exists() or (folder / "variables").exists():
        return folder
    latest = _latest_version(folder) if folder.exists() else 0
    if latest:
        return folder / str(latest)
    raise FileNotFoundError(
        f"path must be an export or a folder of exports, but {folder} holds neither "
        "saved_model.pb nor a numbered version."
    )


def publish(
    folder: pathlib.Path, write: Callable[[pathlib.Path], None]
) -> pathlib.Path:
    """Adds what `write` makes in the path it is given as the next version.

    The version is written under a hidden name, which TensorFlow Serving ignores, and
    renamed when it is complete. So a killed process leaves no half version behind, and
    processes that publish at the same time get different numbers. What killed processes
    left is deleted first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _delete_abandoned_drafts(folder)
    with _draft(folder) as draft:
        try:
            write(draft)
        except tf.errors.OpError as error:
            raise OSError(f"{folder} cannot take it: {error.message}") from error
        return _rename_to_next_version(draft, folder)


@contextlib.contextmanager
def _draft(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields where to write a version, in a hidden folder that is locked meanwhile."""
    name = uuid.uuid4().hex
    new, hidden = folder / f".new-{name}", folder / f".draft-{name}"
    try:
        # Renamed once it is locked, or another process could take it for abandoned.
        with locked(new):
            new.rename(hidden)
            yield hidden / "version"
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(hidden, ignore_errors=True)


def _delete_abandoned_drafts(folder: pathlib.Path) -> None:
    """Deletes drafts whose lock is free, since a killed process holds none."""
    for hidden in folder.glob(".draft-*"):
        if hidden.is_symlink() or (hidden / "lock").is_symlink():
            continue
        with contextlib.suppress(OSError), locked(hidden):
            shutil.rmtree(hidden, ignore_errors=True)


def _rename_to_next_version(draft: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    while True:
        version = folder / str(_latest_version(folder) + 1)
        if not number_of(version.name):
            raise ValueError(f"path must leave a number free, but {folder} does not.")
        try:
            return draft.rename(version)
        except OSError:
            if not version.exists():
                raise
            # Another process took this number in the meantime.


def number_of(name: str) -> int:
    """Returns the number of a version, or 0 for other names, such as `01` and `٣`."""
    return int(name) if re.fullmatch("[1-9][0-9]{0,17}", name) else 0


def _latest_version(folder: pathlib.Path) -> int:
    return max((number_of(entry.name) for entry in folder.iterdir()), default=0)
