"""An export back in Python."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from tfrs_barlow.serving import versions
from tfrs_barlow.serving.manifest import verify
from tfrs_barlow.serving.scann import scann_ops


def load(path: str | os.PathLike[str], *, digest: str | None = None) -> Any:
    """Loads an export, after checking that it holds what was written.

    It is `tf.saved_model.load` behind `verify`: what is loaded is a TensorFlow graph
    with its variables; there is no pickle and no Python code in it. A graph from
    somebody else can still read and write files, so load what you trust.

    Args:
        path: The folder of a version, or of several, of which the newest counts.
        digest: What `verify` gave for this export before; None accepts any.

    Returns:
        The model. Its functions `embed`, `recommend`, `similar_items` and the others
        are described in `export`; inputs that have a default may be left out. Each of
        them keeps the model loaded.

    Raises:
        FileNotFoundError: If `path` holds no export.
        CorruptExportError: If the export is incomplete or was changed.
        ImportError: If the export searches by ScaNN, which is not there.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> _ = tfrsb.serving.export(
        ...     lambda ids: tf.cast(ids, tf.float32),
        ...     folder,
        ...     vocabulary=tfrsb.data.Vocabulary(["Alien", "Brazil"]),
        ...     max_length=3,
        ... )
        >>> model = tfrsb.serving.load(folder)
        >>> model.embed([["Alien", "Brazil"]])["embedding"].numpy()
        array([[3., 4., 0.]], dtype=float32)
    """
    version = versions.newest(path)
    if verify(version, digest=digest).description.index == "scann":
        scann_ops()  # Or the graph cannot be read.
    model = tf.saved_model.load(str(version))
    for function in vars(model).values():
        if isinstance(function, tf.types.experimental.PolymorphicFunction):
            # TensorFlow deletes the variables with the model, while a function that
            # reads them may still be in use: `load(path).recommend(...)`.
            function.model = model
    return model
