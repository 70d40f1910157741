"""What a client learns when its request fails."""

from __future__ import annotations

import re

import tensorflow as tf

CLIENT_ERRORS = (
    *(tf.errors.OpError, TypeError, ValueError),
    *(OverflowError, RecursionError),
)
"""What a bad request raises, in TensorFlow or before."""

_LONGEST = 1_000  # A message may quote the request; gRPC sends 8 kB at most.


def code_of(error: Exception) -> int:
    """Returns the code of an error, which TensorFlow and gRPC share."""
    if isinstance(error, tf.errors.OpError):
        return int(error.error_code)
    return int(tf.errors.INVALID_ARGUMENT)


def message_of(error: Exception) -> str:
    """Returns what went wrong, without the place in the graph."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    text = re.sub(
        r"(?s)^Graph execution error:.*<stack traces unavailable>\n", "", text
    )
    text = re.sub(r"(?s)\s*\[\[\{\{node .*", "", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
