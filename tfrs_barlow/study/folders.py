"""The folder of a long run: its settings, and the seconds it took."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tfrs_barlow import _checks


def require_same_settings(
    folder: str | os.PathLike[str], settings: Mapping[str, Any]
) -> None:
    """Claims a folder for a run with these settings, or refuses one of other settings.

    Makes the folder if need be, and keeps the settings in its `settings.json`.

    Args:
        folder: The folder of the run.
        settings: Whatever decides the outcome, in JSON types.

    Raises:
        ValueError: If the folder holds a run with other settings, or files that are not
            of a run.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> tfrsb.study.require_same_settings(folder, {"seed": 0})
        >>> tfrsb.study.require_same_settings(folder, {"seed": 1})
        Traceback (most recent call last):
        ...
        ValueError: ... holds a run with other settings: seed was 0 and is now 1. ...
    """
    folder = _checks.path("folder", folder)
    folder.mkdir(parents=True, exist_ok=True)
    new = json.loads(json.dumps(dict(settings)))
    file = folder / "settings.json"
    if not file.exists():
        if any(folder.iterdir()):
            raise ValueError(
                f"{folder} must be empty or hold an earlier run, but it holds other "
                "files."
            )
        _write(file, new)
        return
    old = json.loads(file.read_text())
    changes = [
        f"{name} was {old.get(name)!r} and is now {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if changes:
        raise ValueError(
            f"{folder} holds a run with other settings: {', '.join(changes)}. Choose "
            "another folder, or delete this one."
        )


@contextlib.contextmanager
def timed(folder: pathlib.Path) -> Iterator[None]:
    """Adds the time its body takes to the seconds of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    try:
        yield
    finally:
        _write(folder / "seconds.json", seconds(folder) + time.monotonic() - start)


def seconds(folder: pathlib.Path) -> float:
    """Returns how long the work in a folder has taken, over all interruptions."""
    file = folder / "seconds.json"
    return float(json.loads(file.read_text())) if file.exists() else 0.0


def _write(file: pathlib.Path, content: Any) -> None:
    """Writes JSON so that the file is either whole or not there."""
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2))
    partial.replace(file)
