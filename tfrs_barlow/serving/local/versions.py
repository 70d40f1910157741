"""The newest version of a model: found, loaded aside, and swapped in."""

from __future__ import annotations

import gc
import pathlib
import threading
from collections.abc import Callable

import tensorflow as tf

from tfrs_barlow.serving.local.servable import Servable


class Versions:
    """The versions of one model in a folder, of which the newest answers.

    A request keeps the servable that it began with, so a swap breaks none, and the old
    one is freed when the last of its requests has been answered.

    Attributes:
        name: Of the model.
        current: The servable that answers from now on.
    """

    def __init__(
        self,
        path: pathlib.Path,
        load: Callable[[pathlib.Path], Servable] = Servable,
        name: str | None = None,
    ) -> None:
        """Loads the newest version.

        Args:
            path: The folder of the versions; or one version, which is never replaced.
            load: Makes a servable of the folder of a version.
            name: Of the model; if None, that of the folder.

        Raises:
            FileNotFoundError: If there is no version.
        """
        self._fixed = (path / "saved_model.pb").is_file()
        self._folder = path
        self._load = load
        version = self._newest()
        if version is None:
            raise FileNotFoundError(
                f"--model must be an export or a folder of exports, but {path} holds "
                "neither saved_model.pb nor a numbered version."
            )
        folder = path.resolve().parent if self._fixed else path.resolve()
        self.name = name or folder.name
        self.current = load(version)
        self._loaded = version
        self._refusal = ""

    def find(self, name: str, number: int | None = None) -> Servable:
        """Returns what answers a request for a model, or for one version of it.

        Raises:
            tf.errors.NotFoundError: If the model or version is not served.
        """
        servable = self.current
        if name != self.name or number not in (None, servable.version):
            wanted = (
                f"Latest({name})" if number is None else f"Specific({name}, {number})"
            )
            raise tf.errors.NotFoundError(
                None, None, f"Servable not found for request: {wanted}"
            )
        return servable

    def watch(self, seconds: float = 1.0) -> threading.Event:
        """Looks for another version every so often, in a thread, until the event."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(seconds):
                self.refresh()

        threading.Thread(target=look, daemon=True).start()
        return stop

    def refresh(self) -> None:
        """Takes up the newest version, if it is another one and as it was exported."""
        version = self._newest()
        if version in (None, self._loaded):
            return
        assert version is not None
        try:
            servable = self._load(version)
        except Exception as error:
            # It may be only half copied: it is looked at again, but told of once.
            if str(error) != self._refusal:
                print(f"Refused: {error}", flush=True)
            self._refusal = str(error)
            return
        self.current, self._loaded = servable, version
        print(f"Serving version {servable.version}.", flush=True)
        gc.collect()  # The old one is part of reference cycles.

    def _newest(self) -> pathlib.Path | None:
        if self._fixed:
            return self._folder
        if not self._folder.is_dir():
            return None
        numbers = [int(p.name) for p in self._folder.iterdir() if p.name.isdecimal()]
        return self._folder / str(max(numbers)) if numbers else None
