"""Signals to stop, noted until a good moment."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Notes SIGTERM and Ctrl-C while it is active, instead of ending the program.

    A second Ctrl-C ends the program at once. Signals that the program ignores stay
    ignored. Outside the main thread, where Python handles no signals, nothing is noted.

    Attributes:
        received: The signal, once there is one.

    Examples:
        >>> import os, signal
        >>> with StopRequest() as stop:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     stop.received.name
        'SIGTERM'
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            # A handler that was not set from Python reads as None.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)


def raise_for_signal(received: signal.Signals) -> None:
    """Raises `KeyboardInterrupt` after Ctrl-C, else `SystemExit` (143 for SIGTERM)."""
    if received == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + received)
