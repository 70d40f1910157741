"""The newest version of a model: found, loaded aside, and swapped in."""

from __future__ import annotations

import gc
import pathlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import tensorflow as tf

from tfrs_barlow.serving.local.inputs import MAX_BODY_BYTES
from tfrs_barlow.serving.local.servable import Servable
from tfrs_barlow.serving.versions import newest

_Servable = TypeVar("_Servable", bound=Servable)


class Versions(Generic[_Servable]):
    """The versions of one model in a folder, of which the newest answers.

    A request keeps the servable that it began with, so a swap breaks none, and the old
    one is freed after the last of its requests.

    Args:
        path: The folder of the versions; or one version, which is never replaced.
        load: Makes a servable of the folder of a version.
        name: The name of the model; None for that of the folder.
        max_body_bytes: Of a request.

    Attributes:
        name: The name of the model.
        current: The servable that answers from now on.
    """

    def __init__(
        self,
        path: pathlib.Path,
        load: Callable[[pathlib.Path], _Servable],
        name: str | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.max_body_bytes = max_body_bytes
        self._path, self._load = path, load
        self._loaded = newest(path)
        is_version = self._loaded == path
        folder = path.resolve().parent if is_version else path.resolve()
        self.name = name or folder.name
        self.current = load(self._loaded)
        self._refusal = ""

    def find(self, name: str, number: int | None = None) -> _Servable:
        """Returns what answers requests for a model, or for one version of it."""
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
        """Calls `refresh` again and again, in a thread, until the event is set."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(seconds):
                self.refresh()

        threading.Thread(target=look, daemon=True).start()
        return stop

    def refresh(self) -> None:
        """Loads the newest version, if it is another one and as it was exported."""
        try:
            version = newest(self._path)
            if version == self._loaded:
                return
            servable = self._load(version)
        except Exception as error:
            # It may be only half copied, so it is tried again, but reported once.
            if str(error) != self._refusal:
                print(f"Refused: {error}", flush=True)
            self._refusal = str(error)
            return
        self.current, self._loaded = servable, version
        print(f"Serving version {servable.version}.", flush=True)
        gc.collect()  # The old one is part of reference cycles.
