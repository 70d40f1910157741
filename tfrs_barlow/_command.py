"""Starts the commands of this package: in Keras 2 mode, without TensorFlow's noise."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator


def is_starting() -> bool:
    """Returns whether Python was called as `python -m tfrs_barlow.<command>`.

    Python imports the package before the module that `-m` names, and `sys.argv[0]` is
    "-m" until then. A program that imports the package is never taken for a command.
    """
    if sys.argv[:1] != ["-m"]:
        return False
    module = sys.orig_argv[-len(sys.argv)]
    return re.fullmatch(r"(-\w*m)?tfrs_barlow(\..*)?", module) is not None


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Hides what TensorFlow prints while a command of this package imports it.

    Shows it after all if the import fails. `TF_CPP_MIN_LOG_LEVEL=0` hides nothing.
    """
    if "tensorflow" in sys.modules or not is_starting():
        yield
        return
    # TensorFlow reads both variables when it is imported. Level 3 also hides what C++
    # logs as an error: real errors become exceptions in Python.
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        yield
        return
    with _stderr_in_a_file():
        yield
        import absl.logging
        import tensorflow as tf

        # The first look for devices logs errors where there is a driver but no GPU.
        tf.config.list_physical_devices()
    absl.logging.set_verbosity(absl.logging.ERROR)
    tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def _stderr_in_a_file() -> Iterator[None]:
    """Redirects file descriptor 2, to which C++ writes; replays it after an error."""
    try:
        terminal = os.dup(2)
    except OSError:  # Closed: there is nothing to redirect.
        yield
        return
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(terminal, log.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
