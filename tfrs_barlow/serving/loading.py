"""An export back in Python."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from tfrs_barlow.serving.manifest import verified
from tfrs_barlow.serving.scann import scann_ops


def load(path: str | os.PathLike[str], *, digest: str | None = None) -> Any:
    """Loads an export, after checking that it holds what was written.

    This is `verify`, then `tf.saved_model.load`. An export is a TensorFlow graph with
    its variables; it holds no pickle and no Python code. But a graph from somebody else
    can still read and write files, so load only what you trust.

    Args:
        path: The folder of a version, or of several, of which the newest is loaded.
        digest: What `verify` returned for this export before; None accepts any.

    Returns:
        The model. `export` describes its functions `embed`, `recommend`,
        `similar_items` and the others; inputs that have a default may be left out. Each
        function keeps the model loaded.

    Raises:
        TypeError: If `path` is not a path or `digest` is not a string.
        FileNotFoundError: If `path` holds no export.
        CorruptExportError: If the export is incomplete or was changed.
        ImportError: If the export searches with ScaNN, which is not installed.

    Examples:
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
    version, manifest = verified(path, digest)
    if manifest.description.index == "scann":
        scann_ops()  # The graph cannot be read without them.
    model = tf.saved_model.load(str(version))
    for function in vars(model).values():
        if isinstance(function, tf.types.experimental.PolymorphicFunction):
            # TensorFlow deletes the variables with the model, while a function that
            # reads them may still be in use: `load(path).recommend(...)`.
            function.model = model
    return model
