"""Starts an encoder from what a pretraining run has left."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import zipfile
from typing import Any

import h5py
import tensorflow as tf

_KERAS_FILES = (".keras", ".weights.h5")


def warm_start(
    encoder: tf.keras.layers.Layer,
    source: str | pathlib.Path,
    *,
    attribute: str = "encoder",
) -> tf.keras.layers.Layer:
    """Gives an encoder the weights it has in a checkpoint of a whole model.

    The rest of the checkpoint, such as projector and optimizer, is left aside. Either
    all weights of the encoder are restored, or none and an error says why.

    Example:
        >>> import tempfile
        >>> def new_encoder():
        ...     return tfrsb.layers.ItemPoolingEncoder(
        ...         vocabulary_size=10, output_dim=4, pooling="mean"
        ...     )
        >>> pretraining = tfrsb.models.BarlowTwinsPretraining(new_encoder())
        >>> histories = tf.constant([[3, 4, 5], [7, 8, 0]])
        >>> embeddings = pretraining(histories)
        >>> path = f"{tempfile.mkdtemp()}/pretraining.weights.h5"
        >>> pretraining.save_weights(path)
        >>> encoder = tfrsb.models.warm_start(new_encoder(), path)
        >>> bool(np.all(encoder(histories) == embeddings))
        True

    Args:
        encoder: The encoder to start, of the settings of the one in the checkpoint. If
            it has no weights yet, it is built for inputs `[batch, length]`.
        source: A folder of backups of `fit_resumable` or of checkpoints, of which the
            latest is read; the path of a TensorFlow checkpoint; or a `.weights.h5` or
            `.keras` file, as `save_weights` and `save` of a Keras model write them.
        attribute: Under which attribute the checkpoint's model has the encoder:
            `"encoder"` for `BarlowTwinsPretraining`, `"query_tower"` for `DualEncoder`,
            `"dual_encoder.query_tower"` for `JointModel`.

    Returns:
        The encoder.

    Raises:
        FileNotFoundError: If there is no checkpoint at `source`.
        ValueError: If the checkpoint holds no such encoder, or one of other shapes or
            with more layers.
    """
    if not encoder.weights:
        encoder.build(tf.TensorShape([None, None]))
    before = encoder.get_weights()
    path = _find(pathlib.Path(source))
    try:
        if path.name.endswith(_KERAS_FILES):
            _Model(encoder, attribute).load_weights(path)
            saved = _count_in_keras_file(path, encoder, attribute)
        else:
            _read_checkpoint(encoder, path, attribute)
            saved = _count_in_checkpoint(path, attribute)
        # Neither way of reading minds what is left over.
        if saved > len(before):
            raise ValueError(f"{saved} weights were saved, of which {len(before)} fit.")
    # What Keras and TensorFlow raise depends on what does not fit, and in which format.
    except (AssertionError, KeyError, ValueError) as error:
        encoder.set_weights(before)
        raise ValueError(
            f"{path} must hold the weights of {encoder.name!r}, all {len(before)} and "
            f"no other, under the attribute {attribute!r} of its model. Either the "
            "encoder was made with other settings, or the model has it under another "
            "name: set attribute."
        ) from error
    return encoder


def _find(source: pathlib.Path) -> pathlib.Path:
    """Returns the path of a file, or the prefix of a TensorFlow checkpoint."""
    # Backups are in a folder of the worker that writes them.
    for folder in (source, source / "chief"):
        if latest := tf.train.latest_checkpoint(str(folder)):
            return pathlib.Path(latest)
    if source.is_file() and source.name.endswith(_KERAS_FILES):
        return source
    if source.with_name(f"{source.name}.index").is_file():
        return source
    raise FileNotFoundError(
        f"source must be a folder with checkpoints, a checkpoint, or a file that ends "
        f"in {' or '.join(_KERAS_FILES)}, but {source} is none."
    )


def _read_checkpoint(encoder: Any, path: pathlib.Path, attribute: str) -> None:
    tree = encoder
    for name in reversed(attribute.split(".")):
        tree = tf.train.Checkpoint(**{name: tree})
    # A backup holds the model as an attribute; `save_weights` writes the model itself.
    names = tf.train.load_checkpoint(str(path)).get_variable_to_shape_map()
    if any(name.startswith("model/") for name in names):
        tree = tf.train.Checkpoint(model=tree)
    tree.read(str(path)).assert_existing_objects_matched().expect_partial()


def _count_in_checkpoint(path: pathlib.Path, attribute: str) -> int:
    """Returns how many variables of an encoder a checkpoint holds."""
    names = tf.train.load_checkpoint(str(path)).get_variable_to_shape_map()
    folder = f"{attribute.replace('.', '/')}/"
    return sum(
        name.removeprefix("model/").startswith(folder) and ".OPTIMIZER_SLOT" not in name
        for name in names
    )


def _count_in_keras_file(path: pathlib.Path, encoder: Any, attribute: str) -> int:
    """Returns how many variables of an encoder a file of Keras holds."""
    # How Keras names the group of an attribute depends on the names of all of them.
    with tempfile.TemporaryDirectory() as folder:
        own = pathlib.Path(folder) / "own.weights.h5"
        _Model(encoder, attribute).save_weights(own)
        group = os.path.commonpath(_names_in_keras_file(own))
    return sum(name.startswith(f"{group}/") for name in _names_in_keras_file(path))


def _names_in_keras_file(path: pathlib.Path) -> list[str]:
    """Returns the names of all variables in a file of Keras."""
    names: list[str] = []
    with contextlib.ExitStack() as stack:
        content: Any = path
        if path.suffix == ".keras":
            archive = stack.enter_context(zipfile.ZipFile(path))
            content = stack.enter_context(archive.open("model.weights.h5"))
        stack.enter_context(h5py.File(content)).visit(names.append)
    return [name for name in names if pathlib.PurePath(name).parent.name == "vars"]


class _Model(tf.keras.Model):
    """A model that has an encoder where the one in the file has it, and no more."""

    def __init__(self, encoder: tf.keras.layers.Layer, attribute: str) -> None:
        super().__init__()
        name, _, rest = attribute.partition(".")
        setattr(self, name, _Model(encoder, rest) if rest else encoder)
        self.built = True
