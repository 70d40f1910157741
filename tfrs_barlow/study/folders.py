"""A long run in stages, each done once however often the run is interrupted."""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

Figures = dict[str, Any]


class StagedRun:
    """The folder of a run: what it is a run of, and what its stages have found.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> run = tfrsb.study.StagedRun(folder, {"seed": 0})
        >>> run.figures("probe", lambda: {"accuracy": 0.5})
        {'accuracy': 0.5}
        >>> run.figures("probe", lambda: 1 / 0)  # It is not computed again.
        {'accuracy': 0.5}
        >>> tfrsb.study.StagedRun(folder, {"seed": 1})
        Traceback (most recent call last):
        ...
        ValueError: ... holds a run with other settings: seed was 0 and is now 1. ...
    """

    def __init__(self, directory: str | pathlib.Path, settings: Figures) -> None:
        """Opens the folder, or makes it.

        Args:
            directory: The folder.
            settings: All that decides the outcome, in JSON types.

        Raises:
            ValueError: If the folder holds a run with other settings, or files that
                are not of a run.
        """
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = json.loads(json.dumps(settings))
        file = self.directory / "settings.json"
        if file.exists():
            self._require_same(json.loads(file.read_text()), settings)
        elif any(self.directory.iterdir()):
            raise ValueError(
                f"{self.directory} must be empty or hold an earlier run, but it holds "
                "other files."
            )
        else:
            _write(file, settings)

    def folder(self, stage: str) -> pathlib.Path:
        """Returns the folder where a stage keeps its state, made if need be."""
        folder = self.directory / stage
        folder.mkdir(exist_ok=True)
        return folder

    def figures(self, stage: str, compute: Callable[[], Figures]) -> Figures:
        """Returns what `compute` returns, or has returned the first time."""
        file = self.directory / f"{stage}.json"
        if not file.exists():
            _write(file, compute())
        figures: Figures = json.loads(file.read_text())
        return figures

    def timed(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """Adds the time its body takes to the seconds of a stage."""
        return timed(self.folder(stage))

    def seconds(self, stage: str) -> float:
        """Returns how long a stage has taken so far, over all interruptions."""
        return seconds(self.folder(stage))

    def _require_same(self, old: Figures, new: Figures) -> None:
        changes = [
            f"{name} was {old.get(name)!r} and is now {new.get(name)!r}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if changes:
            raise ValueError(
                f"{self.directory} holds a run with other settings: "
                f"{', '.join(changes)}. Choose another folder, or delete this one."
            )


@contextlib.contextmanager
def timed(folder: pathlib.Path) -> Iterator[None]:
    """Adds the time its body takes to the seconds of a folder."""
    start = time.monotonic()
    try:
        yield
    finally:
        _write(folder / "seconds.json", seconds(folder) + time.monotonic() - start)


def seconds(folder: pathlib.Path) -> float:
    """Returns how long what is kept in a folder has taken, over all interruptions."""
    file = folder / "seconds.json"
    return float(json.loads(file.read_text())) if file.exists() else 0.0


def _write(file: pathlib.Path, content: Any) -> None:
    """Writes JSON so that the file is either whole or not there."""
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2))
    partial.replace(file)
