"""Numbered versions of a model in one folder, as TensorFlow Serving expects them."""

from __future__ import annotations

import os
import pathlib
import shutil
import uuid
from collections.abc import Callable


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
    processes that publish at the same time get different numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".draft-{uuid.uuid4().hex}"
    try:
        write(draft)
        return _rename_to_next_version(draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # After a rename nothing is there.


def _rename_to_next_version(draft: pathlib.Path) -> pathlib.Path:
    while True:
        version = draft.with_name(str(_latest_version(draft.parent) + 1))
        try:
            return draft.rename(version)
        except OSError:
            if not version.exists():
                raise
            # Another process took this number in the meantime.


def _latest_version(folder: pathlib.Path) -> int:
    names = [entry.name for entry in folder.iterdir()]
    # Not "٣٠", which `int` would read as well.
    numbers = [int(name) for name in names if name.isascii() and name.isdigit()]
    return max(numbers, default=0)
