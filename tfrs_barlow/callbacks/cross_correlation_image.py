"""The cross-correlation matrix as a picture in TensorBoard."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrs_barlow import _checks
from tfrs_barlow.losses import cross_correlation_matrix

EmbedViews = Callable[[Any], tuple[tf.Tensor, tf.Tensor]]


class CrossCorrelationImage(tf.keras.callbacks.Callback):
    """Writes the cross-correlation matrix of a fixed batch after every few epochs.

    A good encoder gives a red diagonal on white: each feature agrees with itself across
    views, and different features are uncorrelated. Red is a correlation of 1, white 0,
    blue -1. The callback does not change the training: views are made from a fixed
    seed, and the model is called in inference mode.

    Args:
        log_dir: The folder of TensorBoard's events.
        batch: A batch of features as the model takes them. Use some hundred rows, since
            chance correlations are of the size 1 / sqrt(rows).
        embed_views: From `batch` to the embeddings of two views, `[rows, dim]` each.
            Default: the `embed_views` of a `BarlowTwinsPretraining` or `JointModel`.
        every: Write a picture after every so many epochs.
        max_features: Show at most so many features, the first ones.
        seed: Fixes the views.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If a number is out of its range.
        ImportError: If TensorBoard is not installed.

    Examples:
        >>> import tempfile
        >>> encoder = tfrsb.layers.ItemPoolingEncoder(vocabulary_size=10, output_dim=4)
        >>> model = tfrsb.models.BarlowTwinsPretraining(encoder)
        >>> model.compile(tf.keras.optimizers.Adam())
        >>> histories = tf.constant([[3, 4, 5, 6], [7, 8, 9, 0], [3, 5, 7, 9]])
        >>> picture = tfrsb.callbacks.CrossCorrelationImage(
        ...     tempfile.mkdtemp(), histories
        ... )
        >>> batches = tf.data.Dataset.from_tensors(histories)
        >>> history = model.fit(batches, callbacks=[picture], verbose=0)
    """

    def __init__(
        self,
        log_dir: str | pathlib.Path,
        batch: Any,
        *,
        embed_views: EmbedViews | None = None,
        every: int = 1,
        max_features: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        # TensorFlow does not require TensorBoard, and would only fail at the end of the
        # first epoch.
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError(
                "CrossCorrelationImage needs TensorBoard: pip install "
                "'tfrs-barlow[tensorboard]'"
            )
        if embed_views is not None and not callable(embed_views):
            raise TypeError(f"embed_views must be callable, but it is {embed_views!r}.")
        self.log_dir = str(_checks.path("log_dir", log_dir))
        self.batch = batch
        self.every = _checks.integer("every", every, at_least=1)
        self.max_features = _checks.integer("max_features", max_features, at_least=1)
        self.seed = _checks.integer("seed", seed)
        self._embed_views = embed_views
        self._writer: tf.summary.SummaryWriter | None = None

    def set_model(self, model: tf.keras.Model) -> None:
        """Checks before training that the model can embed views."""
        if self._embed_views is None and not hasattr(model, "embed_views"):
            raise ValueError(
                f"embed_views must be given, since {type(model).__name__} has no "
                "such method."
            )
        super().set_model(model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the picture, if it is time."""
        if (epoch + 1) % self.every:
            return
        first, second = (
            embeddings[:, : self.max_features] for embeddings in self._embeddings()
        )
        image = correlation_image(cross_correlation_matrix(first, second))
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        with self._writer.as_default(step=epoch):
            tf.summary.image("cross_correlation", image[tf.newaxis])
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _embeddings(self) -> tuple[tf.Tensor, tf.Tensor]:
        if self._embed_views is not None:
            return self._embed_views(self.batch)
        seed = tf.constant([self.seed, 0], tf.int64)
        return self.model.embed_views(self.batch, seed=seed)


def correlation_image(matrix: tf.Tensor, pixels: int = 512) -> tf.Tensor:
    """Returns a picture of correlations in [-1, 1], `[height, width, 3]` in [0, 1].

    Red is 1, white 0, blue -1. Each element of the matrix becomes a square, so that
    width and height are at least `pixels`.
    """
    matrix = tf.clip_by_value(tf.cast(matrix, tf.float32), -1, 1)
    red, blue = 1 + tf.minimum(matrix, 0), 1 - tf.maximum(matrix, 0)
    image = tf.stack([red, tf.minimum(red, blue), blue], axis=-1)
    square = -(-pixels // min(matrix.shape))
    return tf.repeat(tf.repeat(image, square, axis=0), square, axis=1)
