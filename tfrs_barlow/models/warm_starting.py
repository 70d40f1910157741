"""Starts an encoder from a checkpoint of a pretraining run."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import zipfile
from typing import Any

import h5py
import tensorflow as tf

from tfrs_barlow import _checks

_KERAS_FILES = (".keras", ".weights.h5")


def warm_start(
    encoder: tf.keras.layers.Layer,
    source: str | pathlib.Path,
    *,
    attribute: str = "query_tower",
) -> tf.keras.layers.Layer:
    """Gives an encoder the weights it has in a checkpoint of a whole model.

    The rest of the checkpoint, such as projector and optimizer, is ignored. Either all
    weights of the encoder are restored, or an error says why none was.

    Args:
        encoder: The encoder, made with the same settings as the one in the checkpoint.
            If it has no weights yet, it is built for inputs `[batch, length]`.
        source: A folder of backups of `fit_resumable` or of checkpoints, of which the
            latest is read; the path of a TensorFlow checkpoint; or a `.weights.h5` or
            `.keras` file, written by `save_weights` or `save` of a Keras model.
        attribute: The attribute of the saved model that holds the encoder. All models
            of this package name it `query_tower`; a dot leads to attributes of parts.

    Returns:
        The encoder.

    Raises:
        FileNotFoundError: If there is no checkpoint at `source`.
        TypeError: If an argument has a wrong type.
        ValueError: If the checkpoint holds no such encoder, or one of other shapes or
            with more layers.

    Examples:
        >>> import tempfile
        >>> def new_encoder():
        ...     return tfrsb.layers.ItemPoolingEncoder(10, output_dim=4)
        >>> pretraining = tfrsb.models.BarlowTwinsPretraining(new_encoder())
        >>> histories = tf.constant([[3, 4, 5], [7, 8, 0]])
        >>> embeddings = pretraining(histories)
        >>> path = f"{tempfile.mkdtemp()}/pretraining.weights.h5"
        >>> pretraining.save_weights(path)
        >>> encoder = tfrsb.models.warm_start(new_encoder(), path)
        >>> bool(np.all(encoder(histories) == embeddings))
        True
    """
    _checks.instance("encoder", encoder, tf.keras.layers.Layer)
    _checks.text("attribute", attribute)
    path = _find(source)
    if not encoder.weights:
        encoder.build(tf.TensorShape([None, None]))
    before = encoder.get_weights()
    try:
        if path.name.endswith(_KERAS_FILES):
            _Model(encoder, attribute).load_weights(path)
            saved = _count_in_keras_file(path, encoder, attribute)
        else:
            _read_checkpoint(encoder, path, attribute)
            saved = _count_in_checkpoint(path, attribute)
        # Neither way of reading fails if weights are left over.
        if saved > len(before):
            raise ValueError(f"{saved} weights were saved, of which {len(before)} fit.")
    # Which error Keras and TensorFlow raise depends on the format and on what differs.
    except (AssertionError, KeyError, ValueError) as error:
        encoder.set_weights(before)
        raise ValueError(
            f"{path} must hold the weights of {encoder.name!r}, all {len(before)} and "
            f"no other, under the attribute {attribute!r} of its model. Either the "
            "encoder was made with other settings, or the model has it under another "
            "name: set attribute."
        ) from error
    return encoder


def _find(source: str | pathlib.Path) -> pathlib.Path:
    """Returns the path of a file, or the prefix of a TensorFlow checkpoint."""
    source = _checks.path("source", source)
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
        f"in {' or '.join(_KERAS_FILES)}, but {source} is not."
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
    """Returns the number of variables of an encoder in a checkpoint."""
    names = tf.train.load_checkpoint(str(path)).get_variable_to_shape_map()
    folder = f"{attribute.replace('.', '/')}/"
    return sum(
        name.removeprefix("model/").startswith(folder) and ".OPTIMIZER_SLOT" not in name
        for name in names
    )


def _count_in_keras_file(path: pathlib.Path, encoder: Any, attribute: str) -> int:
    """Returns the number of variables of an encoder in a file of Keras."""
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
    """A model with nothing but an encoder, at the same attribute as in the file."""

    def __init__(self, encoder: tf.keras.layers.Layer, attribute: str) -> None:
        super().__init__()
        name, _, rest = attribute.partition(".")
        setattr(self, name, _Model(encoder, rest) if rest else encoder)
        self.built = True
