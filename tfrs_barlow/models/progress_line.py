"""A progress line that fits an 80-column terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

_SECONDS_BETWEEN_UPDATES = 0.1


class ProgbarLogger(tf.keras.callbacks.ProgbarLogger):
    """Shows a few metrics on one line, instead of all on several.

    It has the name of its base class because Keras warns of slow callbacks by name: it
    would count the time that this one waits for the metrics of a step.

    Args:
        shown: The metrics to show: the name in the line, and the key in the logs. At
            the end of an epoch, what other callbacks have logged and the metrics of the
            validation data follow, as far as the line has space.
    """

    seen: int
    target: int | None
    epochs: int
    verbose: int

    def __init__(self, shown: Mapping[str, str]) -> None:
        super().__init__(count_mode="steps")
        self._shown = shown

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Prints the number of the epoch."""
        self.seen = 0
        self._start = self._updated = time.perf_counter()
        if self.epochs > 1:
            print(f"Epoch {epoch + 1}/{self.epochs}", flush=True)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Updates the line, where a line can be updated."""
        self.seen = batch + 1
        can_update = sys.stdout.isatty() or "ipykernel" in sys.modules
        late = time.perf_counter() - self._updated >= _SECONDS_BETWEEN_UPDATES
        if self.verbose == 1 and can_update and late:
            self._updated = time.perf_counter()
            self._print(self._selected(logs or {}), end="")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Prints the line of the whole epoch."""
        # Keras does not count steps if there are no updates, and may not know at first
        # how many there are.
        self.target = self.seen = self.target or self.seen
        logs = logs or {}
        values = self._selected(logs)
        own = {"loss", "regularization_loss", "total_loss"}
        own |= {metric.name for metric in self.model.metrics}
        others = logs.keys() - own - {f"val_{name}" for name in own}
        values |= {name: logs[name] for name in sorted(others)}
        values |= {f"val_{name}": v for name, v in self._selected(logs, "val_").items()}
        self._print(values, end="\n")

    def _selected(self, logs: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """Returns the metrics to show, by their short names."""
        keys = {name: f"{prefix}{key}" for name, key in self._shown.items()}
        return {name: logs[key] for name, key in keys.items() if key in logs}

    def _print(self, values: Mapping[str, Any], end: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        line = f"{self.seen}/{self.target or '?'}"
        seconds = f"{time.perf_counter() - self._start:.0f}s"
        for part in [*(f"{name} {_short(v)}" for name, v in values.items()), seconds]:
            if len(line) + 1 + len(part) <= width:
                line += f" {part}"
        start = "\r" if sys.stdout.isatty() or "ipykernel" in sys.modules else ""
        print(f"{start}{line:<{width if start else 0}}", end=end, flush=True)


def _short(value: Any) -> str:
    """Returns a number with four digits, or three after a leading zero."""
    value = float(value)
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"
